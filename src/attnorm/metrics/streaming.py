"""Sets of images, real or generated, and statistics of them from one pass; those of real images are cached on disk."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from attnorm.data.dataset import ImageDataset
from attnorm.data.progress import track
from attnorm.errors import UserError
from attnorm.files import written_aside
from attnorm.metrics.base import Batch, Statistics
from attnorm.metrics.distributed import add_up, rank_and_count
from attnorm.metrics.features import FeatureExtractor

UPDATE_SIZE = 256  # images per update of the statistics: updating a covariance with a few costs more than it should
DRAW_BLOCK = 32  # always drawn whole, so that an image does not depend on how many are drawn
CACHE_VERSION = 3  # raise it when features or statistics of the same images change

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
    *,
    probabilities: bool = False,
    show_progress: bool = False,
) -> None:
    """Updates the statistics with the features of all images; each image goes through the network once.

    In a group of processes each takes its own stretch of the images, and then all hold the statistics of the whole.
    Stretches end where batches end, so that an image's batch, and with it the last bit of its features, does not
    depend on the number of processes. Where there are fewer batches than processes each takes all images.

    Raises:
        UserError: features that are not finite.
    """
    statistics, size = list(statistics), extractor.batch_size
    rank, processes = rank_and_count()
    num_batches = -(-images.count // size)
    is_shared = 1 < processes <= num_batches
    if not is_shared:
        rank, processes = 0, 1
    start, stop = (min(num_batches * (rank + i) // processes * size, images.count) for i in (0, 1))
    step = size * max(1, UPDATE_SIZE // size)
    steps = range(start, stop, step)
    for first in track(steps, what, len(steps), show=show_progress):
        last = min(first + step, stop)
        batches = images.read(first, last).split(size)
        rows, classes = zip(*(extractor.extract(batch, probabilities=probabilities) for batch in batches), strict=True)
        features = torch.cat(rows)
        if not bool(features.isfinite().all()):
            raise UserError(f"{extractor.name} gave features of {what} that are not finite: choose another extractor")
        batch = Batch(features, torch.cat(classes) if probabilities else None, torch.arange(first, last), images.count)
        for each in statistics:
            each.update(batch)
    if is_shared:
        for each in statistics:
            each.synchronize()


def real_statistics(
    kinds: Iterable[type[Statistics]],
    extractor: FeatureExtractor,
    real: ImageSet,
    cache: Path | None,
    show_progress: bool = False,
) -> dict[type[Statistics], Any]:
    """Statistics of each kind of real images, from the folder `cache` where they are there, else from the images."""
    found = {kind: kind() for kind in sorted(kinds, key=lambda kind: kind.__name__)}
    paths = {} if cache is None else {kind: _cache_file(cache, kind, extractor, real) for kind in found}
    loaded = [kind in paths and _load(statistics, paths[kind]) for kind, statistics in found.items()]
    # All processes must do the same, also if only some of them can read the folder.
    everywhere = add_up(torch.tensor(loaded, dtype=torch.int64)) == rank_and_count()[1]
    missing = {kind: kind() for kind, is_there in zip(found, everywhere, strict=True) if not is_there}
    if missing:
        stream(missing.values(), extractor, real, "real images", show_progress=show_progress)
    if cache is not None and rank_and_count()[0] == 0:
        for kind, statistics in missing.items():
            _save(statistics, paths[kind])
    return found | missing


def _cache_file(cache: Path, kind: type[Statistics], extractor: FeatureExtractor, real: ImageSet) -> Path:
    """Its name depends on everything that the statistics depend on."""
    facts = (CACHE_VERSION, extractor.name, extractor.fingerprint, extractor.resizer, real.checksum)
    return cache / f"{kind.__name__}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}.safetensors"


def _load(statistics: Statistics, path: Path) -> bool:
    """Whether the statistics could be read; a damaged file is written again."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError):
        return False
    for name, value in tensors.items():
        setattr(statistics, name, value if value.dim() else value.item())
    return True


def _save(statistics: Statistics, path: Path) -> None:
    try:
        with written_aside(path) as partial:
            save_file({name: torch.as_tensor(value).contiguous() for name, value in vars(statistics).items()}, partial)
    except (OSError, SafetensorError) as error:
        print(f"the statistics of the real images are not cached: cannot write {path} ({error})", file=sys.stderr)
