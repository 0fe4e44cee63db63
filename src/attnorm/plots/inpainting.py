"""Sheets of completed images beside what they were made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from attnorm.plots.grids import Key, column_grid, framed, resize
from attnorm.plots.layouts import LARGE_TILE, colour_layout, entity_keys, grey_map, peak_of, with_legend

MASK_GREY = 128
OPACITY = 0.55  # of a layout over its image


def with_holes(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Images (b, h, w, 3) uint8 with grey where the masks (b, h, w) bool are True."""
    return np.where(masks[..., None], np.uint8(MASK_GREY), images)


def inpainting_sheet(
    columns: Mapping[str, np.ndarray], titles: Sequence[str], layouts: np.ndarray | None = None
) -> np.ndarray:
    """One row per image: the columns (b, h, w, 3) uint8 by name, and the argmax of the layout if there is one.

    Args:
        titles: row names.
        layouts: (b, n, h', w'), enlarged to the images by pixel repetition.
    """
    parts = [(Key(name), images) for name, images in columns.items()]
    if layouts is not None:
        parts.append((Key("layout"), np.stack([colour_layout(layout) for layout in layouts])))
    return framed(column_grid(parts, titles, LARGE_TILE))


def layout_over(image: np.ndarray, layout: np.ndarray) -> np.ndarray:
    """The entity colours over the lightness of the image; image (h, w, 3) uint8, layout (n, h', w')."""
    grey = image.astype(np.float32).mean(2, keepdims=True)
    colour = resize(colour_layout(layout), image.shape[:2])
    return (OPACITY * colour + (1 - OPACITY) * grey).round().astype(np.uint8)


def inpainting_layout_sheet(
    image: np.ndarray, mask: np.ndarray, completed: np.ndarray, layout: np.ndarray, entities: Sequence[int] = ()
) -> np.ndarray:
    """The masked image, the completed one, its layout over it, and the maps of some entities.

    Args:
        image, completed: (h, w, 3) uint8.
        mask: (h, w) bool.
        layout: (n, h', w'), enlarged to the image by pixel repetition.
    """
    keys = entity_keys(len(layout))
    peak = peak_of(layout[list(entities)]) if entities else None
    columns = [(Key("input"), with_holes(image[None], mask[None])), (Key("completed"), completed[None])]
    columns.append((Key("layout"), layout_over(completed, layout)[None]))
    for entity in entities:
        columns.append((keys[entity], resize(grey_map(layout[entity], peak or 1.0), image.shape[:2])[None]))
    return with_legend(column_grid(columns, [""], LARGE_TILE), layout[None], peak)
