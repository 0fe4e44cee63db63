"""From one class to another: the images between, with one entity's map below each (paper, Fig. 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from attnorm.plots import grids
from attnorm.plots.grids import BACKGROUND, INK, LINE, PADDING, Key, caption, enlarge, framed, label_grid, stack
from attnorm.plots.layouts import LARGE_TILE, grey_map, peak_of

TRACK = (205, 205, 205)
Names = tuple[str, str]


def interpolation_sheet(
    images: np.ndarray, shares: Sequence[float], names: Names, maps: np.ndarray | None = None, entity: int | None = None
) -> np.ndarray:
    """One row per noise vector, from the first class on the left to the second on the right.

    Args:
        images: (rows, frames, h, w, 3) uint8.
        shares: of the second class, one per frame, from 0 to 1.
        names: of the two classes.
        maps: weights of `entity`, (rows, frames, h', w'), drawn below the images on one grey scale.
    """
    heads = [Key(f"{share:.0%}") for share in shares]
    row_names, margin = _row_names(maps, entity)
    blocks = []
    for row in range(len(images)):
        tiles = _tiles(images, maps, (row, slice(None)), grids.SMALLEST_TILE)
        blocks.append(label_grid(tiles, row_names, len(shares), heads if row == 0 else ()))
    sheet = stack(blocks)
    width = sheet.shape[1] - margin
    parts = [_slider(names, None, width, margin), sheet]
    if maps is not None:
        scale = f"Maps: the weight of entity {entity}, from 0 (black) to {peak_of(maps):.2f} (white)."
        parts.append(np.pad(caption(scale, width), ((0, 0), (margin, 0), (0, 0)), constant_values=BACKGROUND))
    return framed(stack(parts, gap=PADDING // 2))


def interpolation_frames(
    images: np.ndarray, shares: Sequence[float], names: Names, maps: np.ndarray | None = None, entity: int | None = None
) -> Iterator[np.ndarray]:
    """The frames of an animation, all of one size, rows side by side; arguments as of `interpolation_sheet`."""
    row_names, margin = _row_names(maps, entity)
    for frame, share in enumerate(shares):
        tiles = _tiles(images, maps, (slice(None), frame), LARGE_TILE)
        sheet = label_grid(tiles, row_names, len(images))
        yield framed(stack([_slider(names, share, sheet.shape[1] - margin, margin), sheet]))


def _row_names(maps: np.ndarray | None, entity: int | None) -> tuple[list[str], int]:
    """The names of an image and its map, and their width."""
    names = [""] if maps is None else ["", f"entity {entity}"]
    return names, grids.names_width(names)


def _tiles(images: np.ndarray, maps: np.ndarray | None, chosen: Any, smallest: int) -> np.ndarray:
    """The chosen images, enlarged, followed by their maps at the same size."""
    tiles = enlarge(images[chosen], smallest)
    if maps is None:
        return tiles
    peak, size = peak_of(maps), tiles.shape[1:3]
    return np.concatenate([tiles, [grids.resize(grey_map(weights, peak), size) for weights in maps[chosen]]])


def _slider(names: Names, share: float | None, width: int, margin: int) -> np.ndarray:
    """The two names with a line between them: an arrow if `share` is None, else with a knob at `share`."""
    left, right = map(grids.text_width, names)
    line = max(width - left - right - 2 * PADDING, 4 * PADDING)
    canvas = Image.new("RGB", (margin + left + right + 2 * PADDING + line, LINE), (BACKGROUND,) * 3)
    draw, middle, start = ImageDraw.Draw(canvas), LINE // 2, margin + left + PADDING
    grids.write(draw, (margin, middle), names[0], "lm")
    grids.write(draw, (start + line + PADDING, middle), names[1], "lm")
    draw.line((start, middle, start + line - 1, middle), fill=TRACK, width=2)
    if share is None:
        tip = start + line - 1
        draw.polygon([(tip, middle), (tip - 7, middle - 4), (tip - 7, middle + 4)], fill=TRACK)
    else:
        at, radius = start + round(share * (line - 1)), 5
        draw.ellipse((at - radius, middle - radius, at + radius, middle + radius), fill=INK)
    return np.asarray(canvas)
