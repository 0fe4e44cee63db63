"""Inception score (Salimans et al. 2016): exp of the mean divergence of each image's classes from all images'.

The images are cut into 10 splits in their order; mean and standard deviation of the splits' scores are reported.
"""

from __future__ import annotations

import torch

from attnorm.metrics.base import Arrays, Batch, Metric, MetricValue, Statistics

SPLITS = 10
SMALLEST = 1e-300


class SplitProbabilities(Statistics):
    """Per split: how many images (s), the sum of their probabilities (s, k), and the sum of Σ p log p (s).

    Memory does not grow with the number of images. Split j of s has images ⌊j · n / s⌋ to ⌊(j + 1) · n / s⌋ - 1 of n,
    as in torch-fidelity and StyleGAN.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(SPLITS, dtype=torch.float64)
        self.sums = torch.zeros(SPLITS, 0, dtype=torch.float64)
        self.negative_entropies = torch.zeros(SPLITS, dtype=torch.float64)

    def update(self, batch: Batch) -> None:
        assert batch.probabilities is not None  # the metric says that it needs them
        p = batch.probabilities.double().cpu()
        splits = ((batch.positions + 1) * SPLITS - 1) // batch.total
        if not self.sums.shape[1]:
            self.sums = torch.zeros(SPLITS, p.shape[1], dtype=torch.float64)
        self.counts.index_add_(0, splits, torch.ones(len(p), dtype=torch.float64))
        self.sums.index_add_(0, splits, p)
        self.negative_entropies.index_add_(0, splits, torch.xlogy(p, p).sum(1))


class InceptionScore(Metric):
    """Inception score of the generated images over 10 splits, with its standard deviation over them (divisor: 10)."""

    key, standard, stem = "is", "is", "is"
    statistics = SplitProbabilities
    compares, probabilities, fewest = False, True, SPLITS

    def compute(self, real: Arrays, fake: Arrays, seed: int) -> MetricValue:
        means = fake["sums"] / fake["counts"][:, None]
        divergences = fake["negative_entropies"] / fake["counts"]
        divergences = divergences - (means * means.clamp_min(SMALLEST).log()).sum(1)
        scores = divergences.exp()  # each in [1, k]
        values = {"mean": scores.mean().item(), "deviation": scores.std(correction=0).item()}
        return MetricValue(values, "higher", {"splits": SPLITS})
