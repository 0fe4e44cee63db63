"""Fréchet distances (Heusel et al. 2017): the features of each set are taken for a Gaussian, and the two are compared.

FID is this distance with the features of the standard Inception network. All computation is in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attnorm.metrics.base import Arrays, Batch, Metric, MetricValue, Statistics


class GaussianStatistics(Statistics):
    """Count, mean (d) and scatter matrix (d, d) of the features so far; memory does not grow with their number.

    Batches are merged by the update of Chan et al. (1979), which keeps the digits that sums of squares lose to a large
    mean.
    """

    needs = ("mu", "sigma")

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)

    def update(self, batch: Batch) -> None:
        features = batch.features.double()
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

    def compute(self) -> dict[str, Tensor]:
        """Mean and unbiased covariance, which needs two images."""
        return {"mu": self.mean, "sigma": self.scatter / (self.count - 1), "count": torch.tensor(self.count)}


def frechet_distance(a: Arrays, b: Arrays) -> float:
    """|μa - μb|² + tr(Σa + Σb - 2 (Σa Σb)^(1/2)) of two Gaussians, at least 0; computed on the device of b.

    With roots R (r, d) of the covariances, RᵀR = Σ, the eigenvalues of (Σa Σb)^(1/2) are the singular values of Ra Rbᵀ.
    No square root of a product that is not symmetric is taken, so singular covariances (fewer images than features)
    cost no accuracy and give no complex numbers.
    """
    device = b["mu"].device
    shift = a["mu"].to(device) - b["mu"]
    root_a, root_b = _root(a["sigma"].to(device)), _root(b["sigma"])
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

    def compute(self, real: Arrays, fake: Arrays, seed: int) -> MetricValue:
        counts = {what: int(side["count"]) for what, side in (("real", real), ("generated", fake)) if "count" in side}
        what, count = min(counts.items(), key=lambda item: item[1])
        warning, dimension = "", len(fake["mu"])
        if count <= dimension:
            warning = f"{count} {what} images are too few for {dimension} features: the distance is too high, and falls"
            warning += " with more images (that of kid does not)"
        return MetricValue({"distance": frechet_distance(real, fake)}, warning=warning)


class IntraFID(FID):
    """Mean over classes of the Fréchet distance between all real and the generated images of a class (paper, Table 2).

    On a class the distance falls as the number of generated images grows, far more than the FID does, so values of
    different numbers per class do not compare; SN-GAN's code takes 5000.
    """

    key, standard, stem = "intra", "intra-fid", "intra-fd"
    by_class = True
