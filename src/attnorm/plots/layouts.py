"""Layouts: one colour per entity, and sheets of images with their layouts and entity maps (paper, Fig. 5)."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

from attnorm.plots.grids import SMALLEST_TILE, Key, caption, column_grid, framed, legend, names_width, stack

LARGE_TILE = 128

# Found by simulated annealing on the smallest OKLab distance between any two colours, and of each from white, in normal
# vision and in the three dichromacies (Machado et al. 2009); ordered so that the first k are far apart for every k.
# Smallest distance: 0.17 in normal vision, 0.10 in any dichromacy; about 0.02 is just noticeable.
DISTINCT = (
    *("#000095", "#fbcb02", "#cb000c", "#2bacee", "#554e6c", "#f7918a", "#46ffa6", "#ac9901"),
    *("#fe38aa", "#906aff", "#2c00fc", "#ad09b4", "#c4c7ff", "#358770", "#790b02", "#4c0257"),
)
GOLDEN = 0.618034  # of the hue circle: consecutive hues never come close


def entity_colours(count: int) -> np.ndarray:
    """Colours of entities 0 to `count` - 1, (count, 3) uint8; the colour of an entity does not depend on `count`."""
    return np.array([_rgb(index) for index in range(count)], np.uint8).reshape(count, 3)


def colour_layout(layout: np.ndarray) -> np.ndarray:
    """The entity with the largest weight at each pixel as a colour; layout (n, h, w) -> (h, w, 3) uint8."""
    return entity_colours(layout.shape[0])[layout.argmax(0)]


def layout_sheet(
    images: np.ndarray, layouts: np.ndarray, titles: Sequence[str], entities: Sequence[int] | None = None
) -> np.ndarray:
    """One row per image: the image, the argmax of its layout in colour, and entity maps on one grey scale.

    Args:
        images: (b, h, w, 3) uint8.
        layouts: (b, n, h', w'), enlarged to the images by pixel repetition.
        titles: row names.
        entities: whose maps are shown, in this order; None for all.
    """
    keys = entity_keys(layouts.shape[1])
    shown = list(range(len(keys))) if entities is None else list(entities)
    peak = peak_of(layouts[:, shown])
    colours = np.stack([colour_layout(layout) for layout in layouts])
    columns = [(Key("picture"), images), (Key("layout"), colours)]
    columns += [(keys[entity], grey_map(layouts[:, entity], peak)) for entity in shown]
    return with_legend(column_grid(columns, titles, SMALLEST_TILE), layouts, peak, names_width(titles))


def with_legend(sheet: np.ndarray, layouts: np.ndarray, peak: float | None, margin: int = 0) -> np.ndarray:
    """A framed sheet with the entities' colours and shares of all pixels below.

    Args:
        layouts: (b, n, h, w), whose argmax is counted.
        peak: largest weight of the maps on the sheet; None if it has no maps.
        margin: width of the row names.
    """
    count, width = layouts.shape[1], sheet.shape[1] - margin
    shares = np.bincount(layouts.argmax(1).ravel(), minlength=count) / layouts[:, 0].size
    keys = [
        Key(f"{name}: {share:.1%}", colour) for (name, colour), share in zip(entity_keys(count), shares, strict=True)
    ]
    text = "Layout: the entity with the largest weight, and its share of all pixels."
    if peak is not None:
        text += f" Maps: the weight of one entity, from 0 (black) to {peak:.2f} (white)."
    return framed(stack([sheet, legend(keys, width), caption(text, width)], indent=margin))


def entity_keys(count: int) -> list[Key]:
    """Number and colour of each entity."""
    return [Key(str(entity), tuple(colour)) for entity, colour in enumerate(entity_colours(count).tolist())]


def grey_map(weights: np.ndarray, peak: float) -> np.ndarray:
    """Weights (…, h, w) from 0 to `peak` -> (…, h, w, 3) uint8 from black to white."""
    grey = (weights / peak * 255).round().clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def peak_of(weights: np.ndarray) -> float:
    """The largest weight; a small number if all are 0."""
    return max(float(weights.max()), 1e-9)


def _rgb(index: int) -> tuple[int, ...]:
    if index < len(DISTINCT):
        return tuple(bytes.fromhex(DISTINCT[index][1:]))
    saturation, value = 0.4 + 0.5 * (index % 3) / 2, 0.6 + 0.4 * (index % 5) / 4
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(index * GOLDEN % 1, saturation, value))
