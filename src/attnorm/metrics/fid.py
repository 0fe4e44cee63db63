"""FID and the other metrics of generated images: intra-FID, KID, inception score, precision and recall.

Each is a function of the `Statistics` of both sets, computed in float64, and a line of `METRICS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attnorm.metrics.records import MetricValue
from attnorm.metrics.statistics import Statistics

SPLITS = 10  # of the inception score
SUBSETS, SUBSET_SIZE = 100, 1000  # of KID
NEIGHBOURS = 3  # of precision and recall


def fid(real: Statistics, fake: Statistics, seed: int = 0) -> MetricValue:
    """Fréchet distance (Heusel et al. 2017), which is FID with the features of the standard Inception network."""
    dimension, warning = len(fake.mu), ""
    known = [(side.count, what) for side, what in ((real, "real"), (fake, "generated")) if side.count is not None]
    count, what = min(known, key=lambda each: each[0])
    if count <= dimension:
        warning = f"{count} {what} images are too few for {dimension} features: the distance comes out too high"
    return MetricValue({"distance": frechet_distance(real, fake)}, warning=warning)


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """|μa - μb|² + tr(Σa + Σb - 2 (Σa Σb)^(1/2)) of two Gaussians, at least 0; computed on the device of b.

    With roots R (r, d) of the covariances, RᵀR = Σ, the eigenvalues of (Σa Σb)^(1/2) are the singular values of Ra Rbᵀ.
    No square root of a product that is not symmetric is taken, so singular covariances (fewer images than features)
    cost no accuracy and give no complex numbers.
    """
    device = b.mu.device
    shift = a.mu.to(device) - b.mu
    root_a, root_b = _root(a.sigma.to(device)), _root(b.sigma)
    cross = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = shift @ shift + root_a.square().sum() + root_b.square().sum() - 2 * cross
    return max(distance.item(), 0.0)


def _root(covariance: Tensor) -> Tensor:
    """R (r, d) from an eigendecomposition, without the directions whose variance is rounding error."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    return (vectors[:, kept] * values[kept].sqrt()).T


def inception_score(real: Statistics | None, fake: Statistics, seed: int = 0) -> MetricValue:
    """exp of the mean divergence of each image's class probabilities from the mean ones (Salimans et al. 2016).

    Mean and standard deviation (divisor: 10) over 10 splits: split j of s has images ⌊j · n / s⌋ to
    ⌊(j + 1) · n / s⌋ - 1 of n, as in torch-fidelity and StyleGAN.
    """
    n, divergences = len(fake.probabilities), []
    for j in range(SPLITS):
        p = fake.probabilities[j * n // SPLITS : (j + 1) * n // SPLITS].double()
        mean = p.mean(0)
        divergences.append(torch.xlogy(p, p).sum(1).mean() - torch.xlogy(mean, mean).sum())
    scores = torch.stack(divergences).exp()  # each in [1, k]
    values = {"mean": scores.mean().item(), "deviation": scores.std(correction=0).item()}
    return MetricValue(values, "higher", {"splits": SPLITS})


def kid(real: Statistics, fake: Statistics, seed: int = 0) -> MetricValue:
    """Kernel distance (Bińkowski et al. 2018) over 100 random subsets of 1000 images, with its deviation over them.

    Its expectation does not depend on the number of images, which makes it the better metric for small sets; it may be
    slightly negative. Where a set has fewer, subsets have as many as it has; where both are used up, there is one.
    """
    both = real.feats.to(fake.feats.device), fake.feats
    size = min(SUBSET_SIZE, *map(len, both))
    subsets = 1 if size == len(both[0]) == len(both[1]) else SUBSETS
    rng = np.random.default_rng(seed)

    def subset(feats: Tensor) -> Tensor:
        return feats[torch.from_numpy(rng.choice(len(feats), size, replace=False))]

    values = [squared_mmd(*map(subset, both)) for _ in range(subsets)]
    spread = {"deviation": float(np.std(values))} if subsets > 1 else {}
    return MetricValue({"mean": float(np.mean(values)), **spread}, details={"subsets": subsets, "subset_size": size})


def squared_mmd(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate, from features (m, d) and (n, d), of the squared maximum mean discrepancy with the kernel
    (x·y / d + 1)³; m and n are at least 2.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def mean_of_pairs(own: Tensor) -> Tensor:  # without the diagonal
        return (own.sum() - own.trace()) / (len(own) * (len(own) - 1))

    x, y = x.double(), y.double()
    return (mean_of_pairs(kernel(x, x)) + mean_of_pairs(kernel(y, y)) - 2 * kernel(x, y).mean()).item()


def precision_recall(real: Statistics, fake: Statistics, seed: int = 0, block: int = 1024) -> MetricValue:
    """The shares of generated images inside the real manifold, and of real images inside the generated one
    (Kynkäänniemi et al. 2019).

    The manifold of a set is the union of balls around its images, each as wide as the distance to the third-nearest
    image of the set. Distances are float64, `block` rows at a time: no array but the features is larger than
    (block, max(m, n)).
    """
    x, y = real.feats.to(fake.feats.device).double(), fake.feats.double()
    centre = x.mean(0)  # |x - y|² = |x|² + |y|² - 2 x·y loses digits where the norms are large
    x, y = x - centre, y - centre
    values = {"precision": _inside(y, x, block), "recall": _inside(x, y, block)}
    return MetricValue(values, "higher", {"neighbours": NEIGHBOURS})


def _inside(points: Tensor, others: Tensor, block: int) -> float:
    """The share of `points` (n, d) that lie in a ball around one of `others` (m, d)."""
    radii = []  # squared, from each to its third-nearest neighbour, not counting itself
    for start in range(0, len(others), block):
        squares = _squared_distances(others[start : start + block], others)
        squares.diagonal(start).fill_(torch.inf)
        radii.append(squares.kthvalue(NEIGHBOURS, dim=1).values)
    widths = torch.cat(radii)
    inside = sum(int((_squared_distances(part, others) <= widths).any(1).sum()) for part in points.split(block))
    return inside / len(points)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    norms = x.square().sum(1, keepdim=True), y.square().sum(1)
    return torch.addmm(norms[1], x, y.T, alpha=-2).add_(norms[0]).clamp_min_(0)


@dataclass(frozen=True)
class Metric:
    """What a metric is called with the Inception network, and with any other (whose name follows), and what it needs.

    compute: (statistics of the real images, of the generated ones, seed of random subsets) -> its value.
    compares: whether it looks at the real images. needs: "feats" or "probabilities", those of each image.
    by_class: whether it is the mean over classes. fewest: images that it needs of each set, or of each class.
    """

    standard: str
    stem: str
    compute: Callable[[Statistics, Statistics, int], MetricValue]
    compares: bool = True
    needs: tuple[str, ...] = ()
    by_class: bool = False
    fewest: int = 2


METRICS = {  # by their keys on the command line
    "fd": Metric("fid", "fd", fid),
    "intra": Metric("intra-fid", "intra-fd", fid, by_class=True),
    "is": Metric("is", "is", inception_score, compares=False, needs=("probabilities",), fewest=SPLITS),
    "kid": Metric("kid", "kd", kid, needs=("feats",)),
    "pr": Metric("pr-inception", "pr", precision_recall, needs=("feats",), fewest=NEIGHBOURS + 1),
}
