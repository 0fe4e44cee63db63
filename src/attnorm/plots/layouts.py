"""Layouts, one colour per entity, and sheets of generated or completed images with them (paper, Fig. 5)."""

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np

from attnorm.plots.grids import SMALLEST_TILE, Key, caption, column_grid, framed, legend, names_width, stack

LARGE_TILE = 128

# Chosen by simulated annealing to maximize the smallest OKLab distance between two colours, or a colour and white, in
# normal vision and three kinds of colour blindness (Machado et al. 2009): 0.17 and 0.10, where about 0.02 is just
# noticeable. Ordered so that the first k are far apart for every k.
DISTINCT = (
    *("#000095", "#fbcb02", "#cb000c", "#2bacee", "#554e6c", "#f7918a", "#46ffa6", "#ac9901"),
    *("#fe38aa", "#906aff", "#2c00fc", "#ad09b4", "#c4c7ff", "#358770", "#790b02", "#4c0257"),
)
GOLDEN = 0.618034  # step around the hue circle, by which consecutive hues are far apart


def entity_colours(count: int) -> np.ndarray:
    """Colours of entities 0 to `count` - 1, (count, 3) uint8; the colour of an entity does not depend on `count`."""
    colours = [tuple(bytes.fromhex(colour[1:])) for colour in DISTINCT[:count]]
    for index in range(len(colours), count):
        saturation, value = 0.4 + 0.5 * (index % 3) / 2, 0.6 + 0.4 * (index % 5) / 4
        rgb = colorsys.hsv_to_rgb(index * GOLDEN % 1, saturation, value)
        colours.append(tuple(round(255 * part) for part in rgb))
    return np.array(colours, np.uint8).reshape(count, 3)


def colour_layout(layout: np.ndarray) -> np.ndarray:
    """The entity with the largest weight at each pixel as a colour; layout (n, h, w) -> (h, w, 3) uint8."""
    return entity_colours(layout.shape[0])[layout.argmax(0)]


def layout_sheet(
    images: np.ndarray,
    layouts: np.ndarray,
    titles: Sequence[str],
    entities: Sequence[int] | None = None,
    inputs: np.ndarray | None = None,
) -> np.ndarray:
    """One row per image: the image, the argmax of its layout in colour, and entity maps on one grey scale.

    Below are the entities' colours and their shares of all pixels.

    Args:
        images: (b, h, w, 3) uint8.
        layouts: (b, n, h', w'), enlarged to the images by pixel repetition.
        titles: row names.
        entities: the entities whose maps are drawn, in this order; None for all.
        inputs: (b, h, w, 3) uint8, the masked images from which `images` were completed; None for generated ones.
    """
    count = layouts.shape[1]
    shown = range(count) if entities is None else entities
    numbers = [Key(str(entity), tuple(colour)) for entity, colour in enumerate(entity_colours(count).tolist())]
    columns = [(Key("image"), images)] if inputs is None else [(Key("input"), inputs), (Key("completed"), images)]
    columns.append((Key("layout"), np.stack([colour_layout(each) for each in layouts])))
    text = "Layout: the entity with the largest weight, and its share of all pixels."
    if shown:
        peak = peak_of(layouts[:, list(shown)])
        columns += [(numbers[entity], grey_map(layouts[:, entity], peak)) for entity in shown]
        text += f" Maps: the weight of one entity, from 0 (black) to {peak:.2f} (white)."
    sheet, margin = column_grid(columns, titles, SMALLEST_TILE if inputs is None else LARGE_TILE), names_width(titles)
    shares = shares_of(layouts)
    keys = [Key(f"{name}: {share:.1%}", colour) for (name, colour), share in zip(numbers, shares, strict=True)]
    width = sheet.shape[1] - margin
    return framed(stack([sheet, legend(keys, width), caption(text, width)], indent=margin))


def shares_of(layout: np.ndarray) -> np.ndarray:
    """Each entity's share (n,) of the positions of a layout (n, h, w) or (b, n, h, w), by argmax."""
    winners = layout.argmax(-3)
    return np.bincount(winners.ravel(), minlength=layout.shape[-3]) / winners.size


def masked_images(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Images (b, h, w, 3) uint8 with grey where the masks (b, h, w) bool are True."""
    return np.where(masks[..., None], np.uint8(128), images)


def inpainting_sheet(
    columns: Mapping[str, np.ndarray], titles: Sequence[str], layouts: np.ndarray | None = None
) -> np.ndarray:
    """One row per image: the columns (b, h, w, 3) uint8 by name, and the argmax of layouts (b, n, h', w') if any."""
    parts = [(Key(name), images) for name, images in columns.items()]
    if layouts is not None:
        parts.append((Key("layout"), np.stack([colour_layout(each) for each in layouts])))
    return framed(column_grid(parts, titles, LARGE_TILE))


def grey_map(weights: np.ndarray, peak: float) -> np.ndarray:
    """Weights (…, h, w) from 0 to `peak` -> (…, h, w, 3) uint8 from black to white."""
    grey = (weights / peak * 255).round().clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def peak_of(weights: np.ndarray) -> float:
    """The largest weight; a small number if all are 0."""
    return max(float(weights.max()), 1e-9)
