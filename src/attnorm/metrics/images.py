"""The two sides of every comparison: images of a data set, and images that a generator draws."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError

READ_BATCH = 256
LARGEST_COUNT = 10_000_000  # images of a set
DRAW_BLOCK = 32  # always drawn whole, so that an image does not depend on how many are drawn

Draw = Callable[[list[int], int], np.ndarray]  # (labels, seed) -> images (b, h, w, 3) uint8


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A set of images that can be read in parts.

    labels: (n) int64, the class of each.
    read: (start, stop) -> images start to stop - 1, (stop - start, 3, h, w) uint8.
    identity: everything that the images depend on, None if their statistics are not to be cached.
    """

    labels: np.ndarray
    read: Callable[[int, int], Tensor]
    identity: dict[str, Any] | None = None

    @property
    def count(self) -> int:
        return len(self.labels)


def real_images(dataset: ImageDataset, count: int | None = None, seed: int = 0) -> ImageSet:
    """A random subset of a data set, in its order; all images if `count` is None or there are no more."""
    order = np.arange(len(dataset))
    if count is not None and count < len(dataset):
        _check_count(count, "real")
        order = np.sort(np.random.default_rng(seed).choice(len(dataset), count, replace=False))
    return _chosen(dataset, order)


def real_images_of_class(dataset: ImageDataset, label: int) -> ImageSet:
    """All real images of a class."""
    return _chosen(dataset, np.flatnonzero(dataset.labels == label))


def _chosen(dataset: ImageDataset, order: np.ndarray) -> ImageSet:
    def read(start: int, stop: int) -> Tensor:
        return torch.from_numpy(dataset.batch(order[start:stop])[0]).permute(0, 3, 1, 2)

    labels = dataset.labels[order]
    digest = hashlib.sha256(labels.tobytes())
    for batch in np.array_split(order, -(-len(order) // READ_BATCH)):
        digest.update(dataset.batch(batch)[0].data)
    return ImageSet(labels, read, {"size": dataset.size, "count": len(order), "sha256": digest.hexdigest()})


def drawn_labels(classes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Labels (count) int64 in rounds of `classes`, each round in a random order of its own.

    So any stretch has its share of every class, and label i depends on the seed and i alone.
    """
    _check_count(count, "generated")
    rounds = -(-count // len(classes))
    orders = [np.random.default_rng([seed, number]).permutation(classes) for number in range(rounds)]
    return np.concatenate(orders)[:count].astype(np.int64)


def drawn_images(draw: Draw, classes: np.ndarray, count: int, seed: int) -> ImageSet:
    """Images from a generator, with the labels of `drawn_labels`.

    An image depends on the seed and its position alone: not on how many are drawn, nor in how many processes.

    Args:
        draw: gives the same images for the same labels and seed.
        classes: the labels of a round: `arange` of the number of classes for equal frequencies, or the labels of real
            images for theirs.
    """
    labels = drawn_labels(classes, -(-count // DRAW_BLOCK) * DRAW_BLOCK if count > 0 else count, seed)

    def read(start: int, stop: int) -> Tensor:
        first, parts = start // DRAW_BLOCK, []
        for block in range(first, -(-stop // DRAW_BLOCK)):
            block_labels = labels[block * DRAW_BLOCK : (block + 1) * DRAW_BLOCK].tolist()
            parts.append(draw(block_labels, _seed_of(seed, block)))
        images = np.concatenate(parts)[start - first * DRAW_BLOCK : stop - first * DRAW_BLOCK]
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    return ImageSet(labels[:count], read)


def drawn_images_of_class(draw: Draw, label: int, count: int, seed: int) -> ImageSet:
    """Images of one class from a generator, the same whichever other classes are measured."""
    return drawn_images(draw, np.full(DRAW_BLOCK, label), count, _seed_of(seed, label))


def _seed_of(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)


def _check_count(count: int, kind: str) -> None:
    if not 1 <= count <= LARGEST_COUNT:
        limit = "at least 1" if count < 1 else f"at most {LARGEST_COUNT}"
        raise UserError(f"the number of {kind} images must be {limit}, got {count}")
