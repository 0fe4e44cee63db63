"""Fréchet distances (Heusel et al. 2017): the features of each set are taken for a Gaussian, and the two are compared.

FID is this distance in the features of the standard Inception network. Everything here is float64.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from attnorm.errors import UserError
from attnorm.metrics.collecting import Portion, float64_device
from attnorm.metrics.processes import add_up
from attnorm.metrics.registry import MetricValue, Options, metric


class GaussianStatistics:
    """Count, mean (d) and scatter matrix (d, d) of features seen so far; memory does not grow with their number.

    Batches are merged by Chan et al.'s update (1979), which loses no digits to a large mean as sums of squares would.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)

    def update(self, features: Tensor) -> None:
        """Takes in features (b, d), b >= 1, of any floating dtype."""
        features = features.detach().to(float64_device(features.device)).double()
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
        """(d, d) float64, unbiased.

        Raises:
            UserError: fewer than two pictures were seen.
        """
        _require_two(self.count)
        return self.scatter / (self.count - 1)

    def take(self, portion: Portion) -> None:
        self.update(portion.features)

    def synchronise(self) -> None:
        """Merges the statistics of all processes, so that each has those of the whole; every process has some."""
        total = add_up(torch.tensor(self.count))
        mean = add_up(self.mean * self.count) / total
        shift = self.mean - mean
        self.scatter = add_up(self.scatter + self.count * torch.outer(shift, shift))
        self.count, self.mean = int(total.item()), mean

    def arrays(self) -> dict[str, np.ndarray]:
        return {"count": np.array(self.count), "mean": self.mean.cpu().numpy(), "scatter": self.scatter.cpu().numpy()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> GaussianStatistics:
        statistics = cls()
        statistics.count = int(arrays["count"])
        statistics.mean, statistics.scatter = torch.from_numpy(arrays["mean"]), torch.from_numpy(arrays["scatter"])
        return statistics


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    """|μa - μb|² + tr(Σa + Σb - 2 (Σa Σb)^(1/2)) of two Gaussians, at least 0; computed where b is.

    With roots R (r, d) of the covariances, RᵀR = Σ, the eigenvalues of (Σa Σb)^(1/2) are the singular values of Ra Rbᵀ.
    No square root of a product that is not symmetric is taken, so singular covariances (fewer images than features)
    cost no accuracy and give no complex numbers.

    Raises:
        UserError: fewer than two images on a side.
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


def _require_two(count: int) -> None:
    if count < 2:
        raise UserError(f"a covariance needs at least 2 pictures, got {count}: take more")


@metric("fd", standard="fid", collector=GaussianStatistics, fewest=2)
def frechet(real: GaussianStatistics, fake: GaussianStatistics, options: Options) -> MetricValue:
    """Fréchet distance between all real and all generated pictures."""
    return MetricValue({"distance": frechet_distance(real, fake)})


@metric("intra", standard="intra-fid", stem="intra-fd", collector=GaussianStatistics, fewest=2, by_class=True)
def intra(real: GaussianStatistics, fake: GaussianStatistics, options: Options) -> MetricValue:
    """Fréchet distance between all real images of a class and as many generated ones of it as asked for.

    The evaluation goes class by class and takes the mean over classes (paper, Table 2). On a class the distance falls
    as the number of generated images grows, far more than the FID does, so the number is a part of the name.
    """
    return MetricValue({"distance": frechet_distance(real, fake)})
