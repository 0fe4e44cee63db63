"""Kernel distances (KID, Bińkowski et al. 2018): squared maximum mean discrepancy with the kernel (x·y / d + 1)³.

Unlike a Fréchet distance its expectation does not depend on the number of images, which makes it the better metric for
small sets. It may be slightly negative for sets that are alike.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from attnorm.metrics.base import FeatureRows, Metric, MetricValue

SUBSETS = 100
SUBSET_SIZE = 1000


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate of the squared discrepancy of features x (m, d) and y (n, d), m and n at least 2."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mean_of_pairs(own: Tensor) -> Tensor:  # without the diagonal
        return (own.sum() - own.trace()) / (len(own) * (len(own) - 1))

    x, y = x.double(), y.double()
    return (mean_of_pairs(kernel(x, x)) + mean_of_pairs(kernel(y, y)) - 2 * kernel(x, y).mean()).item()


class KID(Metric):
    """Kernel distance over 100 random subsets of 1000 images, with its standard deviation (divisor: 100) over them.

    Where a set has fewer, subsets have as many as it has; where both are used up, there is one subset.
    """

    key, standard, stem = "kid", "kid", "kd"
    statistics = FeatureRows

    def compute(self, real: FeatureRows, fake: FeatureRows, seed: int, device: torch.device) -> MetricValue:
        rows = real.features.to(device), fake.features.to(device)
        size = min(SUBSET_SIZE, len(rows[0]), len(rows[1]))
        subsets = 1 if size == len(rows[0]) == len(rows[1]) else SUBSETS
        rng = np.random.default_rng(seed)
        values = []
        for _ in range(subsets):
            chosen = [torch.from_numpy(rng.choice(len(each), size, replace=False)).to(device) for each in rows]
            values.append(squared_mmd(rows[0][chosen[0]], rows[1][chosen[1]]))
        mean, deviation = float(np.mean(values)), float(np.std(values))
        return MetricValue({"mean": mean, "deviation": deviation}, details={"subsets": subsets, "subset_size": size})
