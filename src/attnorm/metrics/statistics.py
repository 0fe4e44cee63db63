"""Statistics of the features of a set of images, computed in one pass or read from an .npz file.

The files are those of our cache, of pytorch-fid, clean-fid and others: `mu` (d) and `sigma` (d, d) are the mean and
covariance of features, `feats` (n, d) the features. Ours also say `count`, and which network gave the features.
"""

import hashlib
import sys
import zlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from attnorm.errors import UserError
from attnorm.files import explained, output_file
from attnorm.metrics.distributed import gather, rank_and_count, share_work
from attnorm.metrics.features import FeatureExtractor
from attnorm.metrics.image_sets import DrawnImages, RealImages

UPDATE_SIZE = 256  # images per update of a covariance, because small updates are slow
CACHE_VERSION = 5  # raise it when features or statistics of the same images change
ARRAYS = ("mu", "sigma", "count", "feats")
FACTS = ("name", "fingerprint", "resizer")  # of the extractor, in our files
NOTHING = torch.zeros(0)


@dataclass(frozen=True, eq=False)
class Statistics:
    """mu (d), sigma (d, d): mean and unbiased covariance of the features, float64. count: of images, None if unknown.
    feats (n, d) float32, probabilities (n, k): of each image, in their order; empty where no metric needs them.
    file, network: where they were read from, and what the file says of the network.
    """

    mu: Tensor
    sigma: Tensor
    count: int | None = None
    feats: Tensor = NOTHING
    probabilities: Tensor = NOTHING
    file: Path | None = None
    network: Mapping[str, str] = field(default_factory=dict)


EMPTY = Statistics(NOTHING, NOTHING)  # in the place of what no metric looks at


class Gaussian:
    """Count, mean (d) and scatter matrix (d, d) of the features so far; memory does not grow with their number.

    Batches are merged by the update of Chan et al. (1979), which keeps the digits that sums of squares lose to a large
    mean.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self.scatter = torch.zeros(0, 0, dtype=torch.float64)

    def update(self, features: Tensor) -> None:
        features = features.double()
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

    def statistics(self, **more: Any) -> Statistics:
        """With the unbiased covariance, which needs two images, and other fields."""
        return Statistics(self.mean, self.scatter / (self.count - 1), self.count, **more)


def compute_statistics(
    images: RealImages | DrawnImages,
    extractor: FeatureExtractor,
    title: str,
    needs: Collection[str],
    show_progress: bool,
) -> Statistics:
    """Statistics of all images, once through the network; `needs` may name "feats" and "probabilities".

    In a group of processes they share the work, and the statistics of each are, bit for bit, those of one process.
    """
    probabilities = "probabilities" in needs
    size = extractor.batch_size
    step = size * max(1, UPDATE_SIZE // size)
    device = torch.device("cpu") if extractor.device.type == "mps" else extractor.device  # Apple's has no float64

    def extract(first: int) -> tuple[Tensor, Tensor]:
        pixels = torch.from_numpy(images.read(first, min(first + step, images.count))).permute(0, 3, 1, 2)
        pairs = [extractor.extract(batch, probabilities=probabilities) for batch in pixels.split(size)]
        features, classes = zip(*pairs, strict=True)
        return torch.cat(features).cpu(), torch.cat(classes).cpu() if probabilities else NOTHING

    gaussian, feats, chances = Gaussian(), [NOTHING.to(device)], [NOTHING]
    for features, classes in share_work(extract, range(0, images.count, step), title, show_progress):
        features = features.to(device)
        gaussian.update(features)
        feats += [features.float()] if "feats" in needs else []
        chances.append(classes)
    return gaussian.statistics(feats=torch.cat(feats), probabilities=torch.cat(chances))  # NOTHING adds nothing


def real_statistics(
    images: RealImages, extractor: FeatureExtractor, needs: Collection[str], cache: Path | None, show_progress: bool
) -> Statistics:
    """Statistics of real images: from a file in `cache` if it has what is wanted, else from the images."""
    file, found = None, None
    if cache is not None:  # the name depends on everything that the statistics depend on
        facts = (CACHE_VERSION, extractor.name, extractor.fingerprint, extractor.resizer, images.checksum)
        file = cache / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}.npz"
        with suppress(UserError):  # missing or damaged: it is written again
            found = read_statistics(file)
    usable = found is not None and ("feats" not in needs or len(found.feats) > 0)
    if all(gather(usable)) and found is not None:  # in all processes, although only some may be able to read the folder
        return found
    found = compute_statistics(images, extractor, "real images", needs, show_progress)
    if file is not None and rank_and_count()[0] == 0:
        try:
            write_statistics(file, found, extractor)
        except UserError as error:
            print(f"the statistics of the real images are not cached: {error}", file=sys.stderr)
    return found


def read_statistics(path: Path) -> Statistics:
    """The statistics in anyone's .npz file; of features alone they are computed. UserError if it is another file."""
    errors = (ValueError, TypeError, AttributeError, EOFError, BadZipFile, zlib.error)  # what np.load raises
    remedy = "give an .npz file with mu and sigma"
    with explained(f"cannot read {path}", remedy, *errors), np.load(path, allow_pickle=False) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in ARRAYS if name in file}
        network = {name: str(file[name]) for name in FACTS if name in file}
    if "mu" not in arrays and "feats" in arrays and arrays["feats"].ndim == 2:
        gaussian = Gaussian()
        gaussian.update(arrays["feats"])
        computed = gaussian.statistics()
        arrays |= {"mu": computed.mu, "sigma": computed.sigma}
    shapes = {name: tuple(value.shape) for name, value in arrays.items()}
    size = shapes.get("mu", ())
    if len(size) != 1 or shapes.get("sigma") != size * 2 or not all(t.isfinite().all() for t in arrays.values()):
        raise UserError(f"{path} has no finite mean mu (d) and covariance sigma (d, d) of features: it has {shapes}")
    feats = arrays.get("feats", NOTHING)
    count = int(arrays["count"]) if "count" in arrays else len(feats) or None
    return Statistics(arrays["mu"].double(), arrays["sigma"].double(), count, feats, file=path, network=network)


def write_statistics(path: Path, statistics: Statistics, extractor: FeatureExtractor) -> None:
    """Writes statistics, for us and for other programs. Raises a UserError if that is impossible."""
    arrays = {"mu": statistics.mu, "sigma": statistics.sigma, "feats": statistics.feats}
    content: dict[str, Any] = {name: value.cpu().numpy() for name, value in arrays.items() if len(value)}
    content |= {"count": statistics.count} | {fact: getattr(extractor, fact) for fact in FACTS}
    with output_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **content)


def open_reference(path: Path, extractor: FeatureExtractor) -> Statistics:
    """The statistics in anyone's file, if they are of this extractor's features as far as the file tells.

    Raises:
        UserError: it is not such a file, or its features are of another network.
    """
    found = read_statistics(path)
    features, _ = extractor.extract(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    ours = {fact: getattr(extractor, fact) for fact in FACTS} | {"features": features.shape[1]}
    for fact, value in {"features": len(found.mu), **found.network}.items():
        if value != ours[fact]:
            raise UserError(
                f"{path} is of another network than {extractor.name} ({fact}: {value}, not {ours[fact]}): choose its"
                " network with --extractor (2048 features are usually inception's)"
            )
    return found
