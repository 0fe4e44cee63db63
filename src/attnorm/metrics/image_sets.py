"""Sets of images that are measured: some of a data set, or those that a generator draws."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from typing_extensions import Self

from attnorm.data.dataset import ImageDataset

DRAW_BLOCK = 32  # always drawn whole, so that an image does not depend on how many are drawn
HASH_BLOCK = 256

Draw = Callable[[list[int], int], np.ndarray]  # (labels, seed) -> images (b, h, w, 3) uint8


@dataclass(frozen=True, eq=False)
class RealImages:
    """Some images of a data set, by their indices `items`; of each the square of `size` pixels in its middle."""

    dataset: ImageDataset
    items: np.ndarray
    size: int

    @property
    def count(self) -> int:
        return len(self.items)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the images."""
        digest = hashlib.sha256(str(self.size).encode())
        for start in range(0, self.count, HASH_BLOCK):
            digest.update(np.ascontiguousarray(self.read(start, start + HASH_BLOCK)).data)
        return digest.hexdigest()

    def spread_over(self, most: int) -> Self:
        """At most so many of them, evenly spread."""
        most = min(most, self.count)
        return replace(self, items=self.items[np.arange(most) * self.count // most])

    def read(self, start: int, stop: int) -> np.ndarray:
        """Images start to stop - 1, (b, size, size, 3) uint8."""
        images, _ = self.dataset.batch(self.items[start:stop])
        margin = (self.dataset.size - self.size) // 2
        return images[:, margin : margin + self.size, margin : margin + self.size]


class DrawnImages:
    """Images of a generator. One depends on the seed and its position alone: not on how many are drawn, nor where.

    Labels come in rounds of `classes`, each round in a random order of its own, so that any stretch has its share of
    every class. For equal frequencies a round is `arange` of the number of classes; else, the labels of real images.
    """

    def __init__(self, draw: Draw, classes: np.ndarray, count: int, seed: int) -> None:
        self.count, self._draw, self._seed = count, draw, seed
        drawn = -(-count // DRAW_BLOCK) * DRAW_BLOCK
        rounds = range(-(-drawn // len(classes)))
        orders = [np.random.default_rng([seed, number]).permutation(classes) for number in rounds]
        self.labels = np.concatenate(orders).astype(np.int64)[:drawn]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Images start to stop - 1, (b, h, w, 3) uint8."""
        first, parts = start // DRAW_BLOCK, []
        for block in range(first, -(-stop // DRAW_BLOCK)):
            labels = self.labels[block * DRAW_BLOCK : (block + 1) * DRAW_BLOCK].tolist()
            parts.append(self._draw(labels, seed_of(self._seed, block)))
        return np.concatenate(parts)[start - first * DRAW_BLOCK : stop - first * DRAW_BLOCK]


def seed_of(seed: int, number: int) -> int:
    """The seed of a block or class."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)
