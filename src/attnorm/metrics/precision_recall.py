"""Improved precision and recall (Kynkäänniemi et al. 2019).

The manifold of a set is the union of balls around its images, each as wide as the distance to the third-nearest image
of the set. Precision: the share of generated images inside the real manifold. Recall: the converse.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attnorm.metrics.base import FeatureRows, Metric, MetricValue

NEIGHBOURS = 3
BLOCK = 1 << 10


def precision_recall(real: Tensor, fake: Tensor, block: int = BLOCK) -> tuple[float, float]:
    """Precision and recall, each in [0, 1], of features real (m, d) and fake (n, d).

    Distances are float64, `block` rows at a time: no array but the features is larger than (block, max(m, n)).
    """
    centre = real.double().mean(0)  # |x - y|² = |x|² + |y|² - 2 x·y loses digits where the norms are large
    real, fake = real.double() - centre, fake.double() - centre
    precision = _inside(fake, real, _radii(real, block), block)
    return precision, _inside(real, fake, _radii(fake, block), block)


def _radii(points: Tensor, block: int) -> Tensor:
    """The squared distance (m) from each point to its third-nearest neighbour, not counting itself."""
    radii = []
    for start in range(0, len(points), block):
        squares = _squared_distances(points[start : start + block], points)
        squares.diagonal(start).fill_(torch.inf)
        radii.append(squares.kthvalue(NEIGHBOURS, dim=1).values)
    return torch.cat(radii)


def _inside(points: Tensor, centres: Tensor, radii: Tensor, block: int) -> float:
    """The share of `points` (n, d) that lie in a ball around one of `centres` (m, d)."""
    inside = sum(int((_squared_distances(part, centres) <= radii).any(1).sum()) for part in points.split(block))
    return inside / len(points)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    norms = x.square().sum(1, keepdim=True), y.square().sum(1)
    return torch.addmm(norms[1], x, y.T, alpha=-2).add_(norms[0]).clamp_min_(0)


class PrecisionRecall(Metric):
    """Precision and recall with balls to the third-nearest neighbour."""

    key, standard, stem = "pr", "pr-inception", "pr"
    statistics = FeatureRows
    fewest = NEIGHBOURS + 1

    def compute(self, real: FeatureRows, fake: FeatureRows, seed: int, device: torch.device) -> MetricValue:
        precision, recall = precision_recall(real.features.to(device), fake.features.to(device))
        return MetricValue({"precision": precision, "recall": recall}, "higher", {"neighbours": NEIGHBOURS})
