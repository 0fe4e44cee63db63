"""One colour for each entity: the same in every picture, and as far from all others as sixteen colours can be."""

from __future__ import annotations

import colorsys

import numpy as np

# Found by simulated annealing on the smallest distance in OKLab between any two colours, and of each from white, in
# normal vision and in each of the three dichromacies (Machado et al. 2009); ordered so that the first k are far apart
# for every k.
# Smallest distance of two: 0.17 in normal vision, 0.10 in any dichromacy; a just noticeable one is about 0.02.
DISTINCT = (
    *("#000095", "#fbcb02", "#cb000c", "#2bacee", "#554e6c", "#f7918a", "#46ffa6", "#ac9901"),
    *("#fe38aa", "#906aff", "#2c00fc", "#ad09b4", "#c4c7ff", "#358770", "#790b02", "#4c0257"),
)
GOLDEN = 0.618034  # of the hue circle: consecutive hues never come close


def entity_colours(count: int) -> np.ndarray:
    """The colours of entities 0 to `count` - 1, (count, 3) uint8; an entity's colour does not depend on `count`.

    The first sixteen can be told apart by everybody; later ones only differ.
    """
    colours = [_rgb(index) for index in range(count)]
    return np.array(colours, np.uint8).reshape(count, 3)


def colour_layout(layout: np.ndarray) -> np.ndarray:
    """The entity with the largest weight at each pixel as a colour; layout (n, h, w) -> (h, w, 3) uint8."""
    return entity_colours(layout.shape[0])[layout.argmax(0)]


def _rgb(index: int) -> tuple[int, ...]:
    if index < len(DISTINCT):
        return tuple(bytes.fromhex(DISTINCT[index][1:]))
    saturation, value = 0.4 + 0.5 * (index % 3) / 2, 0.6 + 0.4 * (index % 5) / 4
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(index * GOLDEN % 1, saturation, value))
