"""One pass over a set of pictures: features are taken once, for every collector that wants them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from attnorm.errors import UserError
from attnorm.metrics.features import FeatureExtractor
from attnorm.metrics.inception_file import Progress
from attnorm.metrics.pictures import Pictures
from attnorm.metrics.processes import gather_rows, rank_and_count

REAL, GENERATED = "real pictures", "generated pictures"
PORTION = 256  # pictures that a collector takes in at once: updating a covariance with a few would cost more than them

CollectorType = TypeVar("CollectorType", bound="Collector")


class Portion(NamedTuple):
    """What a collector takes in: features (b, d), probabilities (b, k) or None, labels (b) int64, and positions (b)
    int64 in the whole set of `total` pictures."""

    features: Tensor
    probabilities: Tensor | None
    labels: Tensor
    positions: Tensor
    total: int


class Collector(Protocol):
    """What is kept of one set of pictures; made without arguments."""

    def take(self, portion: Portion) -> None: ...
    def synchronise(self) -> None: ...
    def arrays(self) -> dict[str, np.ndarray]: ...
    @classmethod
    def from_arrays(cls: type[CollectorType], arrays: Mapping[str, np.ndarray]) -> CollectorType: ...


class FeatureRows:
    """All features (n, d) float32 and labels (n) int64, on the CPU, in the order of the pictures."""

    def __init__(self) -> None:
        self._features: list[Tensor] = []
        self._labels: list[Tensor] = []

    @property
    def features(self) -> Tensor:
        return self._joined(self._features)

    @property
    def labels(self) -> Tensor:
        return self._joined(self._labels)

    def take(self, portion: Portion) -> None:
        self._features.append(portion.features.float().cpu())
        self._labels.append(portion.labels.cpu())

    def synchronise(self) -> None:
        """Gathers the rows of all processes, in the order of their ranks; every process has some."""
        self._features, self._labels = [gather_rows(self.features)], [gather_rows(self.labels)]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"features": self.features.numpy(), "labels": self.labels.numpy()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> FeatureRows:
        rows = cls()
        rows._features, rows._labels = [torch.from_numpy(arrays["features"])], [torch.from_numpy(arrays["labels"])]
        return rows

    @staticmethod
    def _joined(parts: list[Tensor]) -> Tensor:
        if len(parts) > 1:
            parts[:] = [torch.cat(parts)]
        return parts[0]


def collect(
    collectors: Iterable[Collector],
    extractor: FeatureExtractor,
    pictures: Pictures,
    what: str,
    *,
    probabilities: bool = False,
    progress: Progress | None = None,
) -> None:
    """Fills the collectors with the features of all pictures.

    In a group of processes each looks at its own stretch of the images, and then all hold the statistics of the
    whole. Stretches end where batches end, so that an image's batch, and with it the last bit of its features, does
    not depend on the number of processes. Where there are fewer batches than processes each looks at all images.

    Raises:
        UserError: features that are not finite.
    """
    collectors = list(collectors)
    rank, processes = rank_and_count()
    size = extractor.batch_size
    batches = -(-pictures.count // size)
    is_shared = 1 < processes <= batches
    if not is_shared:
        rank, processes = 0, 1
    start, stop = (min(batches * (rank + i) // processes * size, pictures.count) for i in (0, 1))
    position = start
    for chunk in _in_chunks(pictures.read(start, stop), size * max(1, PORTION // size)):
        extracted = []
        for batch in chunk.split(size):
            extracted.append(extractor.extract(batch, probabilities=probabilities))
            if progress is not None:
                progress(what, position - start + sum(len(one.features) for one in extracted), stop - start)
        portion = _portion(extracted, pictures, position)
        if not bool(portion.features.isfinite().all()):
            raise UserError(f"{extractor.name} gave features of {what} that are not finite: choose another extractor")
        for collector in collectors:
            collector.take(portion)
        position += len(chunk)
    if is_shared:
        for collector in collectors:
            collector.synchronise()


def float64_device(device: torch.device | str) -> torch.device:
    """The device itself, or the CPU in place of one that knows no float64 (Apple's)."""
    device = torch.device(device)
    return torch.device("cpu") if device.type == "mps" else device


def _portion(extracted: list[Any], pictures: Pictures, position: int) -> Portion:
    features = torch.cat([one.features for one in extracted])
    has_probabilities = extracted[0].probabilities is not None
    positions = torch.arange(position, position + len(features))
    return Portion(
        features,
        torch.cat([one.probabilities for one in extracted]) if has_probabilities else None,
        torch.from_numpy(pictures.labels[position : position + len(features)]),
        positions,
        pictures.count,
    )


def _in_chunks(batches: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """The same pictures in chunks of `size`, the last one with what is left."""
    kept, count = list[Tensor](), 0
    for batch in batches:
        kept.append(batch)
        count += len(batch)
        if count >= size:
            *chunks, last = torch.cat(kept).split(size)
            yield from chunks
            if len(last) == size:
                yield last
            kept, count = ([], 0) if len(last) == size else ([last], len(last))
    if count:
        yield torch.cat(kept)
