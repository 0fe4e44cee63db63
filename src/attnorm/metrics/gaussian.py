"""Fréchet distances (Heusel et al. 2017): the features of each set are taken for a Gaussian, and the two are compared.

FID is this distance in the features of the standard Inception network. Everything here is float64.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from attnorm.errors import UserError
from attnorm.metrics.collecting import FeatureRows, Portion, float64_device
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
    """|μa - μb|² + tr(Σa + Σb - 2 (Σa Σb)^(1/2)) of two Gaussians, at least 0."""
    return _distance((a.mean, _root_of(a.covariance)), (b.mean, _root_of(b.covariance)))


def frechet_distance_of_rows(a: Tensor, b: Tensor) -> float:
    """The same from the features (m, d) and (n, d) themselves, m, n >= 2: quick where they are fewer than d.

    Raises:
        UserError: fewer than two pictures on a side.
    """
    return _distance(_mean_and_root(a), _mean_and_root(b))


def _distance(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    """The distance from means (d) and roots R (r, d) of the covariances, RᵀR = Σ.

    The eigenvalues of (Σa Σb)^(1/2) are the singular values of Ra Rbᵀ. No square root of a product that is not
    symmetric is taken, so singular covariances (fewer pictures than features) cost no accuracy and give no complex
    numbers.
    """
    (mean_a, root_a), (mean_b, root_b) = a, (b[0].to(a[0].device), b[1].to(a[0].device))
    shift = mean_a - mean_b
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = shift @ shift + root_a.square().sum() + root_b.square().sum() - 2 * cross
    return max(distance.item(), 0.0)


def _root_of(covariance: Tensor) -> Tensor:
    """R (r, d) from an eigendecomposition, without the directions whose variance is rounding error."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    return (vectors[:, kept] * values[kept].sqrt()).T


def _mean_and_root(features: Tensor) -> tuple[Tensor, Tensor]:
    _require_two(len(features))
    features = features.double()
    mean = features.mean(0)
    root = (features - mean) / (len(features) - 1) ** 0.5
    return mean, torch.linalg.qr(root, mode="r").R if len(root) > root.shape[1] else root


def _require_two(count: int) -> None:
    if count < 2:
        raise UserError(f"a covariance needs at least 2 pictures, got {count}: take more")


@metric("fd", standard="fid", collector=GaussianStatistics, fewest=2)
def frechet(real: GaussianStatistics, fake: GaussianStatistics, options: Options) -> MetricValue:
    """Fréchet distance between all real and all generated pictures."""
    return MetricValue({"distance": frechet_distance(real, fake)})


@metric("intra", standard="intra-fid", stem="intra-fd", collector=FeatureRows, fewest_per_class=2)
def intra(real: FeatureRows, fake: FeatureRows, options: Options) -> MetricValue:
    """Fréchet distance within each class, and the mean over classes (paper, Table 2).

    Worked out class by class from the features, so that memory holds no covariance, however many classes there are.
    """
    by_class = {}
    for label, name in enumerate(options.class_names):
        rows = (side.features[side.labels == label].to(options.device) for side in (real, fake))
        by_class[name] = frechet_distance_of_rows(*rows)
    return MetricValue({"mean": sum(by_class.values()) / len(by_class)}, details={"by_class": by_class})
