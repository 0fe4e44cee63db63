"""Completed pictures beside what they were made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from attnorm.plots.colours import colour_layout
from attnorm.plots.grids import Key, enlarge, framed, label_grid, resize

HOLE = 128  # the grey that a hole is shown in
LARGE_TILE = 128
OPACITY = 0.55  # of a layout over its picture


def with_holes(pictures: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Pictures (b, h, w, 3) uint8 with grey where the holes (b, h, w) bool are."""
    return np.where(holes[..., None], np.uint8(HOLE), pictures)


def inpainting_sheet(
    columns: Mapping[str, np.ndarray], titles: Sequence[str], layouts: np.ndarray | None = None
) -> np.ndarray:
    """A row a picture: the columns (b, h, w, 3) uint8 by name, and the layout's argmax where there is one.

    Args:
        titles: a name for each row.
        layouts: (b, n, h', w'); enlarged to the pictures by pixel repetition.
    """
    parts = [enlarge(pictures, LARGE_TILE) for pictures in columns.values()]
    names = list(columns)
    if layouts is not None:
        size = parts[0].shape[1:3]
        parts.append(np.stack([resize(colour_layout(layout), size) for layout in layouts]))
        names.append("layout")
    tiles = np.stack(parts, axis=1).reshape(-1, *parts[0].shape[1:])
    return framed(label_grid(tiles, titles, len(names), [Key(name) for name in names]))


def layout_over(picture: np.ndarray, layout: np.ndarray) -> np.ndarray:
    """The entity of each pixel in colour over the picture's lightness; picture (h, w, 3) uint8, layout (n, h', w')."""
    grey = picture.astype(np.float32).mean(2, keepdims=True)
    colour = resize(colour_layout(layout), picture.shape[:2])
    return (OPACITY * colour + (1 - OPACITY) * grey).round().astype(np.uint8)
