"""Metrics of all features, pair by pair: the kernel distance, and improved precision and recall."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from attnorm.metrics.base import Arrays, FeatureRows, Metric, MetricValue

SUBSETS, SUBSET_SIZE = 100, 1000
NEIGHBOURS = 3
BLOCK = 1 << 10


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy with the kernel (x·y / d + 1)³.

    Args:
        x, y: features (m, d) and (n, d), m and n at least 2.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mean_of_pairs(own: Tensor) -> Tensor:  # without the diagonal
        return (own.sum() - own.trace()) / (len(own) * (len(own) - 1))

    x, y = x.double(), y.double()
    return (mean_of_pairs(kernel(x, x)) + mean_of_pairs(kernel(y, y)) - 2 * kernel(x, y).mean()).item()


class KID(Metric):
    """Kernel distance (Bińkowski et al. 2018) over 100 random subsets of 1000 images, with its deviation over them.

    Its expectation does not depend on the number of images, which makes it the better metric for small sets; it may be
    slightly negative. Where a set has fewer, subsets have as many as it has; where both are used up, there is one.
    """

    key, standard, stem = "kid", "kid", "kd"
    statistics = FeatureRows

    def compute(self, real: Arrays, fake: Arrays, seed: int) -> MetricValue:
        rows = real["feats"].to(fake["feats"].device), fake["feats"]
        size = min(SUBSET_SIZE, len(rows[0]), len(rows[1]))
        subsets = 1 if size == len(rows[0]) == len(rows[1]) else SUBSETS
        rng = np.random.default_rng(seed)
        values = []
        for _ in range(subsets):
            values.append(squared_mmd(*(each[torch.from_numpy(rng.choice(len(each), size, False))] for each in rows)))
        mean, deviation = float(np.mean(values)), float(np.std(values))
        return MetricValue({"mean": mean, "deviation": deviation}, details={"subsets": subsets, "subset_size": size})


def precision_recall(real: Tensor, fake: Tensor, block: int = BLOCK) -> tuple[float, float]:
    """The shares of generated images inside the real manifold, and of real images inside the generated one.

    The manifold of a set is the union of balls around its images, each as wide as the distance to the third-nearest
    image of the set. Distances are float64, `block` rows at a time: no array but the features is larger than
    (block, max(m, n)).

    Args:
        real, fake: features (m, d) and (n, d).
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
    """Improved precision and recall (Kynkäänniemi et al. 2019) with balls to the third-nearest neighbour."""

    key, standard, stem = "pr", "pr-inception", "pr"
    statistics = FeatureRows
    fewest = NEIGHBOURS + 1

    def compute(self, real: Arrays, fake: Arrays, seed: int) -> MetricValue:
        precision, recall = precision_recall(real["feats"].to(fake["feats"].device), fake["feats"])
        return MetricValue({"precision": precision, "recall": recall}, "higher", {"neighbours": NEIGHBOURS})
