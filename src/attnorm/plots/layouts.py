"""Layouts, one colour per entity, and sheets of generated or completed images with them (paper, Fig. 5)."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np

from attnorm.plots.grids import SMALLEST_TILE, Key, caption, column_grid, framed, legend, names_width, resize, stack

LARGE_TILE = 128
MASK_GREY = 128
OPACITY = 0.55  # of a layout over its image

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
    columns = [(Key("image"), images), (Key("layout"), colours)]
    columns += [(keys[entity], grey_map(layouts[:, entity], peak)) for entity in shown]
    return with_legend(column_grid(columns, titles, SMALLEST_TILE), layouts, peak, names_width(titles))


def masked_images(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
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


def inpainting_layout_sheet(
    image: np.ndarray, mask: np.ndarray, completed: np.ndarray, layout: np.ndarray, entities: Sequence[int] = ()
) -> np.ndarray:
    """The masked image, the completed one, its layout over its lightness, and the maps of some entities.

    Args:
        image, completed: (h, w, 3) uint8.
        mask: (h, w) bool.
        layout: (n, h', w'), enlarged to the image by pixel repetition.
    """
    keys = entity_keys(len(layout))
    peak = peak_of(layout[list(entities)]) if entities else None
    columns = [(Key("input"), masked_images(image[None], mask[None])), (Key("completed"), completed[None])]
    grey, colour = completed.mean(2, keepdims=True), resize(colour_layout(layout), completed.shape[:2])
    over = OPACITY * colour + (1 - OPACITY) * grey.astype(np.float32)
    columns.append((Key("layout"), over.round().astype(np.uint8)[None]))
    for entity in entities:
        columns.append((keys[entity], resize(grey_map(layout[entity], peak or 1.0), image.shape[:2])[None]))
    return with_legend(column_grid(columns, [""], LARGE_TILE), layout[None], peak)


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
