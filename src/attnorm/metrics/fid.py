"""Fréchet distances (Heusel et al. 2017): the features of each set are taken for a Gaussian, and the two are compared.

FID is this distance with the features of the standard Inception network. All computation is in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attnorm.metrics.base import Batch, Metric, MetricValue, Statistics
from attnorm.metrics.distributed import add_up


class GaussianStatistics(Statistics):
    """Count, mean (d) and scatter matrix (d, d) of the features so far; memory does not grow with their number.

    Batches are merged by the update of Chan et al. (1979), which keeps the digits that sums of squares lose to a large
    mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)

    def update(self, batch: Batch) -> None:
        features = batch.features.detach().to(float64_device(batch.features.device)).double()
        count, mean = len(features), features.mean(0)
        centred = features - mean
        scatter = centred.T @ centred
        if not self.count:
            self.count, self.mean, self.scatter = count, mean, scatter
            return
        total, shift = self.count + count, mean - self.mean
        self.scatter += scatter
        self.scatter.addr_(shift, shift, alpha=self.count * count / total)
        self.mean = self.mean + shift * (count / total)
        self.count = total

    @property
    def covariance(self) -> Tensor:
        """(d, d) float64, unbiased: it needs two images."""
        return self.scatter / (self.count - 1)

    def synchronize(self) -> None:
        total = add_up(torch.tensor(self.count))
        mean = add_up(self.mean * self.count) / total
        shift = self.mean - mean
        self.scatter = add_up(self.scatter + self.count * torch.outer(shift, shift))
        self.count, self.mean = int(total.item()), mean


def float64_device(device: torch.device | str) -> torch.device:
    """The device itself, or the CPU instead of one without float64 (Apple's)."""
    device = torch.device(device)
    return torch.device("cpu") if device.type == "mps" else device


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """|μa - μb|² + tr(Σa + Σb - 2 (Σa Σb)^(1/2)) of two Gaussians, at least 0; computed on the device of b.

    With roots R (r, d) of the covariances, RᵀR = Σ, the eigenvalues of (Σa Σb)^(1/2) are the singular values of Ra Rbᵀ.
    No square root of a product that is not symmetric is taken, so singular covariances (fewer images than features)
    cost no accuracy and give no complex numbers.
    """
    device = b.mean.device
    shift = a.mean.to(device) - b.mean
    root_a, root_b = _root(a.covariance.to(device)), _root(b.covariance)
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = shift @ shift + root_a.square().sum() + root_b.square().sum() - 2 * cross
    return max(distance.item(), 0.0)


def _root(covariance: Tensor) -> Tensor:
    """R (r, d) from an eigendecomposition, without the directions whose variance is rounding error."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    return (vectors[:, kept] * values[kept].sqrt()).T


class FID(Metric):
    """Fréchet distance between all real and all generated images."""

    key, standard, stem = "fd", "fid", "fd"
    statistics = GaussianStatistics

    def compute(
        self, real: GaussianStatistics, fake: GaussianStatistics, seed: int, device: torch.device
    ) -> MetricValue:
        return MetricValue({"distance": frechet_distance(real, fake)})


class IntraFID(FID):
    """Mean over classes of the Fréchet distance between all real and the generated images of a class (paper, Table 2).

    On a class the distance falls as the number of generated images grows, far more than the FID does, so values of
    different numbers per class do not compare; SN-GAN's code takes 5000.
    """

    key, standard, stem = "intra", "intra-fid", "intra-fd"
    by_class = True
