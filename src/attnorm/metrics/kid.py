"""Kernel distances (KID, Bińkowski et al. 2018): squared maximum mean discrepancy with the kernel (x·y / d + 1)³.

Unlike a Fréchet distance its expectation does not depend on the number of images, which makes it the better metric for
small sets. It may be slightly negative for sets that are alike.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from attnorm.errors import UserError
from attnorm.metrics.base import FeatureRows, Metric, MetricValue, Options

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


def kernel_distance(real: Tensor, fake: Tensor, seed: int, *, subsets: int, subset_size: int) -> tuple[float, float]:
    """Mean and standard deviation (divisor: their number) of the discrepancy over random subsets.

    Args:
        real, fake: features (m, d) and (n, d); each subset is drawn from them without replacement.
        subset_size: images of a set in a subset, 2 to min(m, n).

    Raises:
        UserError: a subset size out of this range.
    """
    most = min(len(real), len(fake))
    if not 2 <= subset_size <= most:
        raise UserError(f"a kernel distance needs subsets of 2 to {most} images, got {subset_size}: take more images")
    rng = np.random.default_rng(seed)

    def subset(rows: Tensor) -> Tensor:
        return rows[torch.from_numpy(rng.choice(len(rows), subset_size, replace=False)).to(rows.device)]

    values = [squared_mmd(subset(real), subset(fake)) for _ in range(subsets)]
    return float(np.mean(values)), float(np.std(values))


class KID(Metric):
    """Kernel distance over 100 subsets of 1000 images, with its standard deviation over them.

    Where a set has fewer, subsets have as many as it has; where both are used up, there is one subset.
    """

    key, standard, stem = "kid", "kid", "kd"
    statistics = FeatureRows

    def compute(self, real: FeatureRows, fake: FeatureRows, options: Options) -> MetricValue:
        rows = real.features.to(options.device), fake.features.to(options.device)
        size = min(SUBSET_SIZE, len(rows[0]), len(rows[1]))
        subsets = 1 if size == len(rows[0]) == len(rows[1]) else SUBSETS
        mean, deviation = kernel_distance(*rows, options.seed, subsets=subsets, subset_size=size)
        details = {"subsets": subsets, "subset_size": size}
        return MetricValue({"mean": mean, "deviation": deviation}, details=details)
