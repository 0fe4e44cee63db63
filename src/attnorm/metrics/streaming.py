"""Sets of images, real or generated, and statistics of them from one pass; those of real images are cached on disk."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attnorm.data.dataset import ImageDataset
from attnorm.data.progress import track
from attnorm.errors import UserError
from attnorm.metrics.base import Batch, Statistics
from attnorm.metrics.distributed import gather, rank_and_count
from attnorm.metrics.features import FeatureExtractor
from attnorm.metrics.reference import read_arrays, write_arrays

UPDATE_SIZE = 256  # images per update of the statistics: updating a covariance with a few costs more than it should
DRAW_BLOCK = 32  # always drawn whole, so that an image does not depend on how many are drawn
CACHE_VERSION = 4  # raise it when features or statistics of the same images change

Draw = Callable[[list[int], int], np.ndarray]  # (labels, seed) -> images (b, h, w, 3) uint8


@dataclass(frozen=True, eq=False)
class ImageSet:
    """labels: (n) int64. read: (start, stop) -> images start to stop - 1, (stop - start, 3, h, w) uint8."""

    labels: np.ndarray
    read: Callable[[int, int], Tensor]

    @property
    def count(self) -> int:
        return len(self.labels)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the images."""
        digest = hashlib.sha256(str(self.read(0, 1).shape).encode())
        for start in range(0, self.count, UPDATE_SIZE):
            digest.update(self.read(start, min(start + UPDATE_SIZE, self.count)).contiguous().numpy().data)
        return digest.hexdigest()


def real_images(dataset: ImageDataset, count: int | None = None, seed: int = 0, label: int | None = None) -> ImageSet:
    """Images of a data set, or of one class of it, in their order: a random subset, or all if there are no more."""
    order = np.arange(len(dataset)) if label is None else np.flatnonzero(dataset.labels == label)
    if count is not None and count < len(order):
        order = np.sort(np.random.default_rng(seed).choice(len(order), count, replace=False))

    def read(start: int, stop: int) -> Tensor:
        return torch.from_numpy(dataset.batch(order[start:stop])[0]).permute(0, 3, 1, 2)

    return ImageSet(dataset.labels[order], read)


def drawn_images(draw: Draw, classes: np.ndarray, count: int, seed: int) -> ImageSet:
    """Images from a generator. One depends on the seed and its position alone: not on how many are drawn, nor where.

    Labels come in rounds of `classes`, each round in a random order of its own, so that any stretch has its share of
    every class. For equal frequencies a round is `arange` of the number of classes; else, the labels of real images.
    """
    blocks = -(-count // DRAW_BLOCK)
    rounds = -(-blocks * DRAW_BLOCK // len(classes))
    orders = [np.random.default_rng([seed, number]).permutation(classes) for number in range(rounds)]
    labels = np.concatenate(orders).astype(np.int64)

    def read(start: int, stop: int) -> Tensor:
        first, parts = start // DRAW_BLOCK, []
        for block in range(first, -(-stop // DRAW_BLOCK)):
            block_labels = labels[block * DRAW_BLOCK : (block + 1) * DRAW_BLOCK].tolist()
            parts.append(draw(block_labels, seed_of(seed, block)))
        images = np.concatenate(parts)[start - first * DRAW_BLOCK : stop - first * DRAW_BLOCK]
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    return ImageSet(labels[:count], read)


def seed_of(seed: int, number: int) -> int:
    """The seed of a block or class."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)


def stream(
    statistics: Iterable[Statistics],
    extractor: FeatureExtractor,
    images: ImageSet,
    what: str,
    probabilities: bool = False,
    show_progress: bool = False,
) -> None:
    """Updates the statistics with the features of all images, once through the network; UserError if not finite.

    In a group of processes they take turns, step by step, and all get the features of all: the statistics of each are,
    bit for bit, those of one process.
    """
    statistics, size = list(statistics), extractor.batch_size
    rank, processes = rank_and_count()
    device = torch.device("cpu") if extractor.device.type == "mps" else extractor.device  # Apple's has no float64
    step = size * max(1, UPDATE_SIZE // size)
    steps = range(0, images.count, step)
    turns = range(0, len(steps), processes)
    for turn in track(turns, what, len(turns), show=show_progress):
        own = []
        for first in steps[turn : turn + processes][rank : rank + 1]:  # maybe none in the last turn
            batches = images.read(first, min(first + step, images.count)).split(size)
            given = [extractor.extract(batch, probabilities=probabilities) for batch in batches]
            rows, classes = zip(*given, strict=True)
            own.append((torch.cat(rows).cpu(), torch.cat(classes).cpu() if probabilities else None))
        for first, (features, every_class) in zip(steps[turn:], chain(*gather(own)), strict=False):
            if not bool(features.isfinite().all()):
                raise UserError(
                    f"{extractor.name} gave features of {what} that are not finite: choose another extractor"
                )
            positions = torch.arange(first, first + len(features))
            batch = Batch(features.to(device), every_class, positions, images.count)
            for each in statistics:
                each.update(batch)


def real_statistics(
    kinds: Iterable[type[Statistics]],
    extractor: FeatureExtractor,
    real: ImageSet,
    cache: Path | None,
    show_progress: bool = False,
) -> dict[str, Tensor]:
    """Statistics of each kind of real images, from files in `cache` where they are there, else from the images."""
    merged, missing = dict[str, Tensor](), dict[Statistics, Path | None]()
    for kind in sorted(kinds, key=lambda kind: kind.__name__):
        file, arrays = None, None
        if cache is not None:  # the name depends on everything that the statistics depend on
            facts = (CACHE_VERSION, extractor.name, extractor.fingerprint, extractor.resizer, real.checksum)
            file = cache / f"{kind.__name__}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}.npz"
            with suppress(OSError, ValueError):  # missing or damaged: it is written again
                arrays, _ = read_arrays(file)
        # All processes must do the same, also if only some of them can read the folder.
        if all(gather(arrays is not None)):
            merged |= arrays or {}
        else:
            missing[kind()] = file
    if missing:
        stream(missing, extractor, real, "real images", show_progress=show_progress)
    for statistics, file in missing.items():
        merged |= (arrays := statistics.compute())
        if file is not None and rank_and_count()[0] == 0:
            try:
                write_arrays(file, arrays, extractor)
            except UserError as error:
                print(f"the statistics of the real images are not cached: {error}", file=sys.stderr)
    return merged
