"""Improved precision and recall (Kynkäänniemi et al. 2019).

A set's manifold is the union of balls around its pictures, each as wide as the distance to the third-nearest picture
of the same set. Precision: the share of generated pictures inside the real manifold. Recall: the converse.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attnorm.errors import UserError
from attnorm.metrics.collecting import FeatureRows
from attnorm.metrics.registry import MetricValue, Options, metric

NEIGHBOURS = 3
BLOCK = 1 << 10


def precision_recall(
    real: Tensor, fake: Tensor, *, neighbours: int = NEIGHBOURS, block: int = BLOCK
) -> tuple[float, float]:
    """Precision and recall, each in [0, 1], of features real (m, d) and fake (n, d).

    Distances are float64, `block` rows at a time: no array is larger than (block, max(m, n)) besides the features.

    Raises:
        UserError: a set has no more pictures than `neighbours`.
    """
    if min(len(real), len(fake)) <= neighbours:
        raise UserError(
            f"precision and recall need more than {neighbours} pictures a side, got {len(real)} and {len(fake)}:"
            " take more"
        )
    centre = real.double().mean(0)  # |x - y|² = |x|² + |y|² - 2 x·y loses digits where the norms are large
    real, fake = real.double() - centre, fake.double() - centre
    inside_real = _inside(fake, real, _radii(real, neighbours, block), block)
    inside_fake = _inside(real, fake, _radii(fake, neighbours, block), block)
    return inside_real, inside_fake


def _radii(points: Tensor, neighbours: int, block: int) -> Tensor:
    """The squared distance (m) from each point to its neighbour number `neighbours`, not counting itself."""
    radii = []
    for start in range(0, len(points), block):
        squares = _squared_distances(points[start : start + block], points)
        rows = torch.arange(len(squares), device=points.device)
        squares[rows, rows + start] = torch.inf
        radii.append(squares.kthvalue(neighbours, dim=1).values)
    return torch.cat(radii)


def _inside(points: Tensor, centres: Tensor, radii: Tensor, block: int) -> float:
    """The share of `points` (n, d) that lie in a ball around one of `centres` (m, d)."""
    inside = 0
    for part in points.split(block):
        inside += int((_squared_distances(part, centres) <= radii).any(1).sum())
    return inside / len(points)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    norms = x.square().sum(1, keepdim=True), y.square().sum(1)
    return torch.addmm(norms[1], x, y.T, alpha=-2).add_(norms[0]).clamp_min_(0)


@metric("pr", standard="pr-inception", collector=FeatureRows, fewest=NEIGHBOURS + 1)
def precision_and_recall(real: FeatureRows, fake: FeatureRows, options: Options) -> MetricValue:
    """Precision and recall with balls to the third-nearest neighbour."""
    rows = real.features.to(options.device), fake.features.to(options.device)
    precision, recall = precision_recall(*rows)
    return MetricValue({"precision": precision, "recall": recall}, "higher", {"neighbours": NEIGHBOURS})
