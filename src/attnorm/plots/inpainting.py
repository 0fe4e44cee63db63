"""Completed pictures beside what they were made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from attnorm.plots.colours import colour_layout
from attnorm.plots.grids import Key, caption, enlarge, framed, label_grid, legend, resize, stack
from attnorm.plots.layouts import entity_keys, grey_map, peak_of

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


def inpainting_layout_sheet(
    picture: np.ndarray, hole: np.ndarray, completed: np.ndarray, layout: np.ndarray, entities: Sequence[int] = ()
) -> np.ndarray:
    """A picture with its hole, completed, and under its layout; the maps of some entities; and each one's share.

    Args:
        picture, completed: (h, w, 3) uint8. hole: (h, w) bool.
        layout: (n, h', w'), enlarged to the picture by pixel repetition.
    """
    size, keys = picture.shape[:2], entity_keys(len(layout))
    peak = peak_of(layout[list(entities)]) if entities else 1.0
    maps = [resize(grey_map(layout[entity], peak), size) for entity in entities]
    tiles = [with_holes(picture[None], hole[None])[0], completed, layout_over(completed, layout), *maps]
    heads = [Key("input"), Key("completed"), Key("layout"), *(keys[entity] for entity in entities)]
    sheet = label_grid(enlarge(np.stack(tiles), LARGE_TILE), [""], len(tiles), heads)
    shares = np.bincount(layout.argmax(0).ravel(), minlength=len(layout)) / layout[0].size
    named = [Key(f"{name}: {share:.1%}", colour) for (name, colour), share in zip(keys, shares, strict=True)]
    explained = "Layout: the entity with the largest weight, and its share of all pixels."
    if entities:
        explained += f" Maps: the weight of one entity, from 0 (black) to {peak:.2f} (white)."
    return framed(stack([sheet, legend(named, sheet.shape[1]), caption(explained, sheet.shape[1])]))
