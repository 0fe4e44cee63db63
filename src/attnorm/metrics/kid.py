"""Kernel distances (KID, Bińkowski et al. 2018): squared maximum mean discrepancy with the kernel (x·y / d + 1)³.

Unlike a Fréchet distance its expectation does not depend on the number of pictures, which makes it the better figure
for small sets. It may be slightly negative for sets that are alike.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from attnorm.errors import UserError
from attnorm.metrics.collecting import FeatureRows
from attnorm.metrics.registry import MetricValue, Options, metric

SUBSETS = 100
SUBSET_SIZE = 1000


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate of the squared discrepancy of features x (m, d) and y (n, d), m and n at least 2."""
    x, y = x.double(), y.double()
    return (_mean_of_pairs(_cubic(x, x)) + _mean_of_pairs(_cubic(y, y)) - 2 * _cubic(x, y).mean()).item()


def kernel_distance(real: Tensor, fake: Tensor, seed: int, *, subsets: int, subset_size: int) -> tuple[float, float]:
    """Mean and standard deviation (divisor: their number) of the discrepancy over random subsets.

    Args:
        real, fake: features (m, d) and (n, d); each subset is drawn from them without replacement.
        subset_size: pictures of a side in a subset, 2 to min(m, n).

    Raises:
        UserError: a subset size out of this range.
    """
    if not 2 <= subset_size <= min(len(real), len(fake)):
        raise UserError(
            f"a kernel distance needs subsets of 2 to {min(len(real), len(fake))} pictures, got {subset_size}: take"
            " more pictures, or another size"
        )
    chance = np.random.default_rng(seed)

    def subset(rows: Tensor) -> Tensor:
        return rows[torch.from_numpy(chance.choice(len(rows), subset_size, replace=False)).to(rows.device)]

    values = [squared_mmd(subset(real), subset(fake)) for _ in range(subsets)]
    return float(np.mean(values)), float(np.std(values))


def _mean_of_pairs(kernel: Tensor) -> Tensor:
    """The mean of a square matrix without its diagonal."""
    return (kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1))


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


@metric("kid", standard="kid", stem="kd", collector=FeatureRows, fewest=2)
def kid(real: FeatureRows, fake: FeatureRows, options: Options) -> MetricValue:
    """Kernel distance over 100 subsets of 1000 pictures, with its standard deviation over them.

    Where a side has fewer, subsets have as many as it has; where both are used up, one subset says all.
    """
    rows = real.features.to(options.device), fake.features.to(options.device)
    size = min(SUBSET_SIZE, len(rows[0]), len(rows[1]))
    subsets = 1 if size == len(rows[0]) == len(rows[1]) else SUBSETS
    mean, deviation = kernel_distance(*rows, options.seed, subsets=subsets, subset_size=size)
    details = {"subsets": subsets, "subset_size": size}
    return MetricValue({"mean": mean, "deviation": deviation}, details=details)
