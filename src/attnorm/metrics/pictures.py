"""The two sides of every comparison: pictures of a data set, and pictures that a generator draws."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError

READ_BATCH = 256
LARGEST_COUNT = 10_000_000  # pictures of a side
DRAW_BLOCK = 32  # drawn whole, even if fewer are wanted: the last pictures must not depend on how many there are

Draw = Callable[[list[int], int], np.ndarray]  # (labels, seed) -> pictures (b, h, w, 3) uint8


@dataclass(frozen=True, eq=False)
class Pictures:
    """A set of pictures that can be read in parts.

    labels: (n) int64, the class of each.
    read: (start, stop) -> batches (b, 3, h, w) uint8 of pictures start to stop - 1, in order.
    identity: everything that the pictures depend on; None if nothing should be remembered of them.
    """

    labels: np.ndarray
    read: Callable[[int, int], Iterator[Tensor]]
    identity: dict[str, Any] | None = None

    @property
    def count(self) -> int:
        return len(self.labels)


def class_pictures(dataset: ImageDataset, label: int) -> Pictures:
    """All real images of a class."""
    return _chosen(dataset, np.flatnonzero(dataset.labels == label))


def dataset_pictures(dataset: ImageDataset, count: int | None = None, seed: int = 0) -> Pictures:
    """A random subset of a data set, in its order, as the reference of metrics.

    Args:
        count: how many, all if there are no more; None for all.
        seed: of the choice; without effect where all are taken.

    Raises:
        UserError: count is less than 1.
    """
    order = np.arange(len(dataset))
    if count is not None and count < len(dataset):
        _require_some(count, "real")
        order = np.sort(np.random.default_rng(seed).choice(len(dataset), count, replace=False))
    return _chosen(dataset, order)


def _chosen(dataset: ImageDataset, order: np.ndarray) -> Pictures:
    def read(start: int, stop: int) -> Iterator[Tensor]:
        for first in range(start, stop, READ_BATCH):
            images, _ = dataset.batch(order[first : min(first + READ_BATCH, stop)])
            yield torch.from_numpy(images).permute(0, 3, 1, 2)

    labels = dataset.labels[order]
    digest = hashlib.sha256(labels.tobytes())
    for batch in np.array_split(order, -(-len(order) // READ_BATCH)):
        digest.update(dataset.batch(batch)[0].data)
    return Pictures(labels, read, {"size": dataset.size, "count": len(order), "sha256": digest.hexdigest()})


def drawn_labels(classes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The labels (count) int64 of generated pictures, in rounds of `classes`, each round in a random order of its own.

    So any stretch has its share of every class, and label i depends on the seed and i alone.

    Raises:
        UserError: count is less than 1.
    """
    _require_some(count, "generated")
    rounds = -(-count // len(classes))
    orders = [np.random.default_rng([seed, number]).permutation(classes) for number in range(rounds)]
    return np.concatenate(orders)[:count].astype(np.int64)


def drawn_pictures(draw: Draw, classes: np.ndarray, count: int, seed: int) -> Pictures:
    """Pictures from a generator, with the labels of `drawn_labels`.

    Args:
        draw: gives the same pictures for the same labels and seed.
        classes: the labels to draw from, each as often as it shall occur in a round: `arange` of the number of classes
            for all alike, or the labels of real pictures for the frequencies of those.

    A picture depends on the seed and its position alone: not on how many are drawn, nor in how many processes.

    Raises:
        UserError: count is less than 1.
    """
    _require_some(count, "generated")
    whole = drawn_labels(classes, -(-count // DRAW_BLOCK) * DRAW_BLOCK, seed)

    def read(start: int, stop: int) -> Iterator[Tensor]:
        for block in range(start // DRAW_BLOCK, -(-stop // DRAW_BLOCK)):
            first = block * DRAW_BLOCK
            block_seed = int(np.random.SeedSequence([seed, block]).generate_state(1, np.uint64)[0] >> 1)
            pictures = draw(whole[first : first + DRAW_BLOCK].tolist(), block_seed)
            yield torch.from_numpy(pictures[max(start - first, 0) : stop - first]).permute(0, 3, 1, 2)

    return Pictures(whole[:count], read)


def drawn_of_class(draw: Draw, label: int, count: int, seed: int) -> Pictures:
    """Images of one class from a generator; each depends on the seed, the class and its position alone.

    So the images of a class are the same whichever other classes are measured.
    """
    own = int(np.random.SeedSequence([seed, label]).generate_state(1, np.uint64)[0] >> 1)
    return drawn_pictures(draw, np.full(DRAW_BLOCK, label), count, own)


def _require_some(count: int, kind: str) -> None:
    if not 1 <= count <= LARGEST_COUNT:
        limit = "at least 1" if count < 1 else f"at most {LARGEST_COUNT}"
        raise UserError(f"the number of {kind} pictures must be {limit}, got {count}")
