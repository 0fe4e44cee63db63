"""Sheets and animations of the way from one class to another, with the maps of an entity (paper, Fig. 8)."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from attnorm.plots.grids import SMALLEST_TILE, Key, caption, enlarge, framed, label_grid, names_width, resize, stack
from attnorm.plots.layouts import LARGE_TILE, grey_map, peak_of

Names = tuple[str, str]


def interpolation_sheet(
    images: np.ndarray, names: Names, maps: np.ndarray | None = None, entity: int | None = None
) -> np.ndarray:
    """One row per noise vector, from the first class on the left to the second on the right.

    Args:
        images: (rows, frames, h, w, 3) uint8, at even steps.
        names: the names of the two classes.
        maps: weights of `entity`, (rows, frames, h', w'), drawn below the images on one grey scale.
    """
    heads, titles = [Key(f"{share:.0%}") for share in np.linspace(0, 1, images.shape[1])], _titles(maps, entity)
    rows = [
        label_grid(_tiles(images, maps, row, SMALLEST_TILE), titles, len(heads), () if row else heads)
        for row in range(len(images))
    ]
    margin = names_width(titles)
    text = f"From {names[0]} to {names[1]}."
    if maps is not None:
        text += f" Maps: the weight of entity {entity}, from 0 (black) to {peak_of(maps):.2f} (white)."
    return framed(stack([stack(rows), caption(text, rows[0].shape[1] - margin)], indent=margin))


def interpolation_frames(
    images: np.ndarray, names: Names, maps: np.ndarray | None = None, entity: int | None = None
) -> Iterator[np.ndarray]:
    """The frames of an animation, rows side by side; arguments as for `interpolation_sheet`."""
    titles = _titles(maps, entity)
    for frame, share in enumerate(np.linspace(0, 1, images.shape[1])):
        sheet = label_grid(_tiles(images, maps, (slice(None), frame), LARGE_TILE), titles, len(images))
        lines = f"From {names[0]} to {names[1]}:", f"{share:.0%}"  # so that all frames have equally many lines
        yield framed(stack([sheet, *(caption(line, sheet.shape[1]) for line in lines)], indent=names_width(titles)))


def _titles(maps: np.ndarray | None, entity: int | None) -> list[str]:
    """The titles of a row of images and of the row of their maps."""
    return [""] if maps is None else ["", f"entity {entity}"]


def _tiles(images: np.ndarray, maps: np.ndarray | None, chosen: Any, smallest: int) -> np.ndarray:
    """The chosen images, enlarged, followed by their maps at the same size."""
    tiles = enlarge(images[chosen], smallest)
    if maps is None:
        return tiles
    grey = grey_map(maps[chosen], peak_of(maps))
    return np.concatenate([tiles, [resize(each, tiles.shape[1:3]) for each in grey]])
