"""Grids of images with row names, column heads, legends and captions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from attnorm.plots.text import INK, LINE, TEXT_SIZE, text_width, write

GAP = 2
BACKGROUND = 255
SMALLEST_TILE = 64  # smaller images are enlarged by a whole factor
LEAST_TEXT = 320  # smallest width of a caption, in pixels
PADDING = 8
BAR = 5  # height of the coloured strip below a column head, in pixels


class Key(NamedTuple):
    """A column head or legend entry: its name and, optionally, its colour."""

    name: str
    colour: tuple[int, ...] | None = None


def enlarge(images: np.ndarray, smallest: int = SMALLEST_TILE) -> np.ndarray:
    """Enlarges images (b, h, w, 3) that are smaller than `smallest` by a whole factor, by repeating pixels."""
    factor = max(1, smallest // max(images.shape[1:3]))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def resize(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """An image (h, w) or (h, w, 3) uint8 at another size (height, width), by nearest neighbour."""
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.NEAREST))


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (b, h, w, 3) in rows of `columns`, with a white gap."""
    rows = -(-len(images) // columns)
    around = ((0, rows * columns - len(images)), (0, GAP), (0, GAP), (0, 0))
    tiles = np.pad(images, around, constant_values=BACKGROUND)
    sheet = np.concatenate([np.concatenate([*row], axis=1) for row in tiles.reshape(rows, columns, *tiles.shape[1:])])
    return sheet[:-GAP, :-GAP]


def label_grid(images: np.ndarray, row_names: Sequence[str], columns: int, heads: Sequence[Key] = ()) -> np.ndarray:
    """A grid with row names and, optionally, column heads; small images are enlarged."""
    images = enlarge(images)
    sheet, margin, top = grid(images, columns), names_width(row_names), LINE + BAR + GAP if heads else 0
    canvas = Image.fromarray(_blank(top + sheet.shape[0], margin + sheet.shape[1]))
    canvas.paste(Image.fromarray(sheet), (margin, top))
    draw, (height, width) = ImageDraw.Draw(canvas), images.shape[1:3]
    for row, name in enumerate(row_names):
        write(draw, (margin - PADDING, top + row * (height + GAP) + height // 2), name, "rm")
    for column, (name, colour) in enumerate(heads):
        left = margin + column * (width + GAP)
        write(draw, (left + width // 2, LINE // 2), name, "mm")
        if colour is not None:
            draw.rectangle((left, LINE, left + width - 1, LINE + BAR - 1), fill=colour)
    return np.asarray(canvas)


def column_grid(columns: Sequence[tuple[Key, np.ndarray]], row_names: Sequence[str], smallest: int) -> np.ndarray:
    """A `label_grid` from its columns: each a head, and an image or map (h, w, 3) for each row.

    The first column is enlarged to about `smallest` pixels, and the others are resized to it.
    """
    first = enlarge(columns[0][1], smallest)
    others = [np.stack([resize(image, first.shape[1:3]) for image in images]) for _, images in columns[1:]]
    tiles = np.stack([first, *others], axis=1).reshape(-1, *first.shape[1:])
    return label_grid(tiles, row_names, len(columns), [head for head, _ in columns])


def legend(keys: Sequence[Key], width: int) -> np.ndarray:
    """Names, each with a patch of its colour, in as many columns as fit into `width` pixels but at least one."""
    pitch = 3 * PADDING + TEXT_SIZE + max(text_width(key.name) for key in keys)
    rows = -(-len(keys) // max(1, width // pitch))
    columns = -(-len(keys) // rows)  # equally many in each row
    canvas = Image.fromarray(_blank(rows * LINE, max(width, pitch)))
    draw = ImageDraw.Draw(canvas)
    for index, (name, colour) in enumerate(keys):
        left, top = index % columns * pitch, index // columns * LINE
        draw.rectangle((left, top + 2, left + TEXT_SIZE, top + 2 + TEXT_SIZE), fill=colour, outline=INK)
        write(draw, (left + TEXT_SIZE + PADDING, top + LINE // 2), name, "lm")
    return np.asarray(canvas)


def caption(text: str, width: int) -> np.ndarray:
    """A text in lines of at most `width` pixels, or LEAST_TEXT if that is more; a longer word widens it."""
    width, lines = max(width, LEAST_TEXT), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    canvas = Image.fromarray(_blank(len(lines) * LINE, max(width, *map(text_width, lines))))
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        write(draw, (0, number * LINE + LINE // 2), line, "lm")
    return np.asarray(canvas)


def stack(parts: Sequence[np.ndarray], gap: int = PADDING, indent: int = 0) -> np.ndarray:
    """Sheets below one another on white; all but the first start at column `indent`."""
    lefts = [0, *[indent] * (len(parts) - 1)]
    width = max(part.shape[1] + left for part, left in zip(parts, lefts, strict=True))
    sheet, top = _blank(sum(part.shape[0] + gap for part in parts) - gap, width), 0
    for part, left in zip(parts, lefts, strict=True):
        sheet[top : top + part.shape[0], left : left + part.shape[1]] = part
        top += part.shape[0] + gap
    return sheet


def framed(sheet: np.ndarray) -> np.ndarray:
    """A sheet with a white border."""
    return np.pad(sheet, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)), constant_values=BACKGROUND)


def names_width(names: Sequence[str]) -> int:
    """The width of a column of row names with its padding; 0 if all are empty."""
    longest = max(map(text_width, names), default=0)
    return longest + PADDING + PADDING // 2 if longest else 0


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), BACKGROUND, np.uint8)
