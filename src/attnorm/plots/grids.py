"""Tables of pictures with names: grids, legends and captions, drawn with Pillow and its own font."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

GAP = 2
BACKGROUND = 255
INK = (40, 40, 40)
SMALLEST_TILE = 64  # smaller pictures are enlarged by a whole factor in sheets, so that a person can read them
TEXT_SIZE, LINE = 14, 20  # pixels of a letter and of a line of text
LEAST_TEXT = 320  # pixels of a line of a caption, even under a narrower sheet
PADDING = 8  # between names and what they name
BAR = 5  # the strip in an entity's colour under its column's name


class Key(NamedTuple):
    """A name and, where it has one, its colour: the head of a column or an entry of a legend."""

    name: str
    colour: tuple[int, ...] | None = None


def to_uint8(pictures: Tensor) -> np.ndarray:
    """Pictures (b, 3, h, w) in [-1, 1] -> (b, h, w, 3) uint8, rounded to nearest."""
    scaled = (pictures.detach().float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().byte().permute(0, 2, 3, 1).cpu().numpy()


def enlarge(pictures: np.ndarray, smallest: int = SMALLEST_TILE) -> np.ndarray:
    """Repeats the pixels of pictures (b, h, w, 3) smaller than `smallest` by a whole factor."""
    factor = max(1, smallest // max(pictures.shape[1:3]))
    return pictures.repeat(factor, axis=1).repeat(factor, axis=2)


def resize(picture: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """A picture (h, w) or (h, w, 3) uint8 at another size, by repeating or dropping pixels."""
    height, width = size
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST))


def grid(pictures: np.ndarray, columns: int) -> np.ndarray:
    """Pictures (b, h, w, 3) in rows of `columns`, with a white gap."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    sheet = _blank(rows * (height + GAP) - GAP, columns * (width + GAP) - GAP)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def label_grid(
    pictures: np.ndarray, row_names: Sequence[str], columns: int, heads: Sequence[Key] = (), margin: int | None = None
) -> np.ndarray:
    """A grid with a name before each row and, if there are `heads`, one above each column; small pictures are enlarged.

    `margin` is the width of the names' column in pixels; None for what the longest needs.
    """
    pictures = enlarge(pictures)
    sheet = grid(pictures, columns)
    margin = names_width(row_names) if margin is None else margin
    top = LINE + BAR + GAP if heads else 0
    canvas = Image.fromarray(_blank(top + sheet.shape[0], margin + sheet.shape[1]))
    canvas.paste(Image.fromarray(sheet), (margin, top))
    draw, (height, width) = ImageDraw.Draw(canvas), pictures.shape[1:3]
    for row, name in enumerate(row_names):
        middle = top + row * (height + GAP) + height // 2
        draw.text((margin - PADDING, middle), legible(name), fill=INK, font=font(), anchor="rm")
    for column, (name, colour) in enumerate(heads):
        left = margin + column * (width + GAP)
        draw.text((left + width // 2, LINE // 2), legible(name), fill=INK, font=font(), anchor="mm")
        if colour is not None:
            draw.rectangle((left, LINE, left + width - 1, LINE + BAR - 1), fill=colour)
    return np.asarray(canvas)


def legend(keys: Sequence[Key], width: int) -> np.ndarray:
    """Names with a patch of their colour, in columns, as many as fit into `width`; wider if one entry is."""
    patch = TEXT_SIZE
    pitch = 3 * PADDING + patch + text_width(max(keys, key=lambda key: text_width(key.name)).name)
    rows = -(-len(keys) // max(1, width // pitch))
    columns = -(-len(keys) // rows)  # as many in each row
    canvas = Image.fromarray(_blank(rows * LINE, max(width, pitch)))
    draw = ImageDraw.Draw(canvas)
    for index, (name, colour) in enumerate(keys):
        left, top = index % columns * pitch, index // columns * LINE
        draw.rectangle((left, top + 2, left + patch, top + 2 + patch), fill=colour, outline=INK)
        draw.text((left + patch + PADDING, top + LINE // 2), legible(name), fill=INK, font=font(), anchor="lm")
    return np.asarray(canvas)


def caption(text: str, width: int) -> np.ndarray:
    """A text in lines of at most `width` pixels, or of a readable length below a narrower sheet; wider if a word is."""
    width = max(width, LEAST_TEXT)
    lines = list(_lines(text.split(), width))
    canvas = Image.fromarray(_blank(len(lines) * LINE, max(width, *map(text_width, lines))))
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        draw.text((0, number * LINE + LINE // 2), legible(line), fill=INK, font=font(), anchor="lm")
    return np.asarray(canvas)


def stack(parts: Sequence[np.ndarray], gap: int = PADDING, indent: int = 0) -> np.ndarray:
    """Sheets below one another, all but the first from column `indent` on; the right is filled with white."""
    placed = [(part, indent if number else 0) for number, part in enumerate(parts)]
    width = max(part.shape[1] + left for part, left in placed)
    sheet = _blank(sum(part.shape[0] + gap for part in parts) - gap, width)
    top = 0
    for part, left in placed:
        sheet[top : top + part.shape[0], left : left + part.shape[1]] = part
        top += part.shape[0] + gap
    return sheet


def framed(sheet: np.ndarray) -> np.ndarray:
    """A sheet with a white border, which keeps what is written at its edge apart from what surrounds the picture."""
    return np.pad(sheet, ((PADDING, PADDING), (PADDING, PADDING), (0, 0)), constant_values=BACKGROUND)


def names_width(names: Sequence[str]) -> int:
    """The width of a column of names, with the room after them; 0 for none."""
    longest = max(map(text_width, names), default=0)
    return longest + PADDING + PADDING // 2 if longest else 0


def text_width(text: str) -> int:
    return int(np.ceil(font().getlength(legible(text))))


def legible(text: str) -> str:
    """Pillow's font has few letters beyond English: accents are dropped, so that the letter stays."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))


@functools.cache
def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=TEXT_SIZE)


def _lines(words: Sequence[str], width: int) -> Iterator[str]:
    line = ""
    for word in words:
        longer = f"{line} {word}" if line else word
        if line and text_width(longer) > width:
            yield line
            longer = word
        line = longer
    yield line


def _blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), BACKGROUND, np.uint8)
