"""From one class to another: the pictures on the way, and one entity's map under each (paper, Fig. 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from attnorm.plots.grids import (
    BACKGROUND,
    INK,
    LINE,
    PADDING,
    SMALLEST_TILE,
    Key,
    caption,
    enlarge,
    font,
    framed,
    label_grid,
    legible,
    names_width,
    resize,
    stack,
    text_width,
)
from attnorm.plots.layouts import LARGE_TILE, grey_map, peak_of

TRACK = (205, 205, 205)
STILL = 1e-6  # of the weights' standard deviation: no more than rounding
Names = tuple[str, str]


def liveliest_entity(layouts: np.ndarray) -> int:
    """The entity whose map varies most in all of the rows; layouts (rows, frames, n, h, w).

    By the geometric mean of the rows' standard deviations: one black row counts against an entity whatever the others
    do, and a row that is flat for every entity counts against none.
    """
    spreads = layouts.std((1, 3, 4), dtype=np.float64)
    return int(np.log(spreads + STILL).mean(0).argmax())


def interpolation_sheet(
    pictures: np.ndarray,
    shares: Sequence[float],
    names: Names,
    maps: np.ndarray | None = None,
    entity: int | None = None,
) -> np.ndarray:
    """A row of pictures for each noise, from the first class on the left to the second on the right.

    Args:
        pictures: (rows, frames, h, w, 3) uint8.
        shares: of the second class, one a frame, from 0 to 1.
        names: of the two classes.
        maps: the weights of `entity`, (rows, frames, h', w'); shown below each picture on one scale for the sheet.
    """
    rows, frames = pictures.shape[:2]
    heads = [Key(f"{share:.0%}") for share in shares]
    row_names = _row_names(maps, entity)
    margin = names_width(row_names)
    blocks = []
    for row in range(rows):
        tiles = _tiles(pictures, maps, (row, slice(None)), SMALLEST_TILE)
        blocks.append(label_grid(tiles, row_names, frames, heads if row == 0 else (), margin))
    sheet = stack(blocks)
    width = sheet.shape[1] - margin
    parts = [_slider(names, None, width, margin), sheet]
    if maps is not None:
        scale = f"Maps: the weight of entity {entity}, from 0 (black) to {peak_of(maps):.2f} (white)."
        parts.append(np.pad(caption(scale, width), ((0, 0), (margin, 0), (0, 0)), constant_values=BACKGROUND))
    return framed(stack(parts, gap=PADDING // 2))


def interpolation_frames(
    pictures: np.ndarray,
    shares: Sequence[float],
    names: Names,
    maps: np.ndarray | None = None,
    entity: int | None = None,
) -> Iterator[np.ndarray]:
    """The pictures of a film, all of one size: the noises side by side; arguments as of `interpolation_sheet`."""
    row_names = _row_names(maps, entity)
    margin = names_width(row_names)
    for frame, share in enumerate(shares):
        tiles = _tiles(pictures, maps, (slice(None), frame), LARGE_TILE)
        sheet = label_grid(tiles, row_names, len(pictures), margin=margin)
        yield framed(stack([_slider(names, share, sheet.shape[1] - margin, margin), sheet]))


def _row_names(maps: np.ndarray | None, entity: int | None) -> list[str]:
    return [""] if maps is None else ["", f"entity {entity}"]


def _tiles(pictures: np.ndarray, maps: np.ndarray | None, chosen: Any, smallest: int) -> np.ndarray:
    """The chosen pictures, enlarged, and after them their maps at the same size."""
    tiles = enlarge(pictures[chosen], smallest)
    if maps is None:
        return tiles
    peak, size = peak_of(maps), tiles.shape[1:3]
    return np.concatenate([tiles, [resize(grey_map(weights, peak), size) for weights in maps[chosen]]])


def _slider(names: Names, share: float | None, width: int, margin: int) -> np.ndarray:
    """The two names with a line between them and, for a film, a knob on it; wider than `width` if the names are."""
    left, right = map(text_width, names)
    line = max(width - left - right - 2 * PADDING, 4 * PADDING)
    canvas = Image.new("RGB", (margin + left + right + 2 * PADDING + line, LINE), (BACKGROUND,) * 3)
    draw, middle, start = ImageDraw.Draw(canvas), LINE // 2, margin + left + PADDING
    draw.text((margin, middle), legible(names[0]), fill=INK, font=font(), anchor="lm")
    draw.text((start + line + PADDING, middle), legible(names[1]), fill=INK, font=font(), anchor="lm")
    draw.line((start, middle, start + line - 1, middle), fill=TRACK, width=2)
    if share is None:
        tip = start + line - 1
        draw.polygon([(tip, middle), (tip - 7, middle - 4), (tip - 7, middle + 4)], fill=TRACK)
    else:
        at, radius = start + round(share * (line - 1)), 5
        draw.ellipse((at - radius, middle - radius, at + radius, middle + radius), fill=INK)
    return np.asarray(canvas)
