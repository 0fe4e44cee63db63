"""Inception score (Salimans et al. 2016): exp of the mean divergence of each picture's classes from all pictures'.

The pictures are cut into 10 splits in their order, the score is taken of each, and mean and deviation are reported.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from attnorm.errors import UserError
from attnorm.metrics.collecting import Portion
from attnorm.metrics.processes import add_up
from attnorm.metrics.registry import MetricValue, Options, metric

SPLITS = 10
SMALLEST = 1e-300


class SplitProbabilities:
    """Per split: how many pictures (s), the sum of their probabilities (s, k), and the sum of Σ p log p (s).

    Memory does not grow with the number of pictures. Split j of n pictures is those from ⌊j · n / s⌋ to
    ⌊(j + 1) · n / s⌋, without the last, as torch-fidelity and StyleGAN2-ADA cut them.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(SPLITS, dtype=torch.float64)
        self.sums = torch.zeros(SPLITS, 0, dtype=torch.float64)
        self.negative_entropies = torch.zeros(SPLITS, dtype=torch.float64)

    def update(self, probabilities: Tensor, positions: Tensor, total: int) -> None:
        """Takes in probabilities (b, k), rows sum to 1, of the pictures at `positions` (b) out of `total`."""
        p = probabilities.detach().double().cpu()
        splits = ((positions.cpu() + 1) * SPLITS - 1) // total
        if not self.sums.shape[1]:
            self.sums = torch.zeros(SPLITS, p.shape[1], dtype=torch.float64)
        self.counts.index_add_(0, splits, torch.ones(len(p), dtype=torch.float64))
        self.sums.index_add_(0, splits, p)
        self.negative_entropies.index_add_(0, splits, torch.xlogy(p, p).sum(1))

    def score(self) -> tuple[float, float]:
        """Mean and standard deviation (divisor: the number of splits) of the splits' scores, each in [1, k].

        Raises:
            UserError: a split has no picture.
        """
        if not bool(self.counts.min() > 0):
            count = int(self.counts.sum())
            raise UserError(f"an inception score needs a picture in each of {SPLITS} splits, got {count}: take more")
        means = self.sums / self.counts[:, None]
        divergences = self.negative_entropies / self.counts - (means * means.clamp_min(SMALLEST).log()).sum(1)
        scores = divergences.exp()
        return scores.mean().item(), scores.std(correction=0).item()

    def take(self, portion: Portion) -> None:
        assert portion.probabilities is not None  # the metric says that it needs them
        self.update(portion.probabilities, portion.positions, portion.total)

    def synchronise(self) -> None:
        """Adds up the sums of all processes; every process has some."""
        for name, value in vars(self).items():
            setattr(self, name, add_up(value))

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SplitProbabilities:
        statistics = cls()
        for name in vars(statistics):
            setattr(statistics, name, torch.from_numpy(arrays[name]))
        return statistics


@metric("is", standard="is", collector=SplitProbabilities, compares=False, probabilities=True, fewest=SPLITS)
def inception_score(fake: SplitProbabilities, options: Options) -> MetricValue:
    """Inception score of the generated pictures over 10 splits, with its standard deviation over them."""
    mean, deviation = fake.score()
    return MetricValue({"mean": mean, "deviation": deviation}, "higher", {"splits": SPLITS})
