"""Windows around the missing regions of an image that is too large to be completed whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage

CONTEXT = 2  # a window is this many times as long as its region: the paper has 128 pixels missing of 256
CELLS = 8  # regions closer than a window's side divided by this are one region


class Box(NamedTuple):
    """Rows top to bottom and columns left to right, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    def union(self, other: Box) -> Box:
        return Box(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )

    def overlaps(self, other: Box) -> bool:
        return (
            self.top < other.bottom and other.top < self.bottom and self.left < other.right and other.left < self.right
        )


def windows_of(mask: np.ndarray, side: int, multiple: int = 1) -> list[Box]:
    """Boxes that cover all missing regions of a mask (h, w) bool, each region in one box, no two boxes overlapping.

    A box is at least `side` and twice its region long in each direction, rounded up to a `multiple`, as far as the
    image reaches. Regions whose boxes would overlap share one.
    """
    kept: list[tuple[Box, Box]] = []  # (around the regions, the window)
    for region in _regions(mask, max(1, side // CELLS)):
        window = _window(region, mask.shape, side, multiple)
        while touching := [pair for pair in kept if pair[1].overlaps(window)]:
            for pair in touching:
                kept.remove(pair)
                region = region.union(pair[0])
            window = _window(region, mask.shape, side, multiple)
        kept.append((region, window))
    return sorted(window for _, window in kept)


def _window(region: Box, shape: tuple[int, ...], side: int, multiple: int) -> Box:
    ends = []
    for start, end, limit in ((region.top, region.bottom, shape[0]), (region.left, region.right, shape[1])):
        length = -(-max(side, CONTEXT * (end - start)) // multiple) * multiple
        length = min(length, limit)
        first = min(max((start + end - length) // 2, 0), limit - length)
        ends += [first, first + length]
    return Box(*ends)


def _regions(mask: np.ndarray, cell: int) -> Iterator[Box]:
    """The boxes around the connected parts of a mask, seen in cells of some pixels."""
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % cell), (0, -width % cell)))
    rows, columns = padded.shape[0] // cell, padded.shape[1] // cell
    marked = padded.reshape(rows, cell, columns, cell).any((1, 3))
    parts, _ = ndimage.label(marked, np.ones((3, 3)))
    for row, column in ndimage.find_objects(parts):
        yield Box(row.start * cell, min(row.stop * cell, height), column.start * cell, min(column.stop * cell, width))
