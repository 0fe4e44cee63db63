"""Holes: painted at the size of the screen, kept at the size of the image, grown and shrunk."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from attnorm.errors import UserError

FURTHEST = 64  # pixels that a mask can be grown or shrunk by at once
BRUSH = (255, 45, 120)  # of the paint over the image
OPACITY = 0.6  # so that the image is seen through it
ALPHA = round(255 * OPACITY)


def painted(layer: np.ndarray) -> np.ndarray:
    """The pixels of an editor's layer (h, w, 4) uint8 that have at least half of the brush's opacity, (h, w) bool."""
    return layer[..., 3] >= ALPHA // 2


def as_layer(mask: np.ndarray) -> np.ndarray:
    """The layer (h, w, 4) uint8 on which a mask (h, w) bool is painted."""
    layer = np.zeros((*mask.shape, 4), np.uint8)
    layer[mask] = (*BRUSH, ALPHA)
    return layer


def resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (h, w) bool at (height, width) = `size`, without mixing pixels."""
    if mask.shape == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))


def reduced(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (h, w) bool at a smaller size, in which a pixel is marked if half of its area is."""
    if mask.shape == size:
        return mask
    area = Image.fromarray(mask.astype(np.uint8) * 255).resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(area) >= 128


def changed_by(pixels: int, mask: np.ndarray) -> np.ndarray:
    """A mask (h, w) bool grown by so many pixels, or shrunk by as many if negative.

    Grown are all pixels whose centre is at most that far from a marked one's. Shrinking grows what is not marked; the
    image's edge counts as marked, so that a mask that reaches it stays there.

    Raises:
        UserError: more than 64 pixels.
    """
    if not -FURTHEST <= pixels <= FURTHEST:
        raise UserError(f"a mask can be grown or shrunk by at most {FURTHEST} pixels at once, got {pixels}")
    return _grown(mask, pixels) if pixels >= 0 else ~_grown(~mask, -pixels)


def _grown(mask: np.ndarray, radius: int) -> np.ndarray:
    """Row by row of a disc: each of its rows is a run of pixels."""
    box = _around(mask, radius)
    if box is None:
        return mask.copy()
    inside = mask[box]
    count = np.zeros((inside.shape[0], inside.shape[1] + 1), np.int32)
    np.cumsum(inside, axis=1, out=count[:, 1:])  # marked pixels to the left of each edge between two
    columns = np.arange(inside.shape[1])
    out = np.zeros_like(inside)
    for distance in range(radius + 1):
        half = math.isqrt(radius**2 - distance**2)
        right = count[:, np.minimum(columns + half + 1, len(columns))]
        run = right > count[:, np.maximum(columns - half, 0)]
        for into, from_ in _shifts(distance):
            out[into] |= run[from_]
    whole = mask.copy()
    whole[box] = out
    return whole


def _around(mask: np.ndarray, radius: int) -> tuple[slice, slice] | None:
    """What growing can reach: the box of the marked pixels and a margin; None where nothing is marked."""
    spans = []
    for axis in (1, 0):
        touched = np.flatnonzero(mask.any(axis))
        if not len(touched):
            return None
        spans.append(slice(max(0, int(touched[0]) - radius), int(touched[-1]) + radius + 1))
    return spans[0], spans[1]


def _shifts(distance: int) -> Iterator[tuple[slice, slice]]:
    """Rows so far below, and so far above, those that they are taken from."""
    yield slice(distance, None), slice(None, -distance or None)
    if distance:
        yield slice(None, -distance), slice(distance, None)
