"""Pictures of pictures: grids, layouts and entity maps, as uint8 arrays (h, w, 3)."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from attnorm.errors import UserError

GAP = 2
BACKGROUND = 255
INK = (40, 40, 40)
SMALLEST_TILE = 64  # smaller pictures are enlarged by a whole factor in sheets, so that a person can read them


def to_uint8(pictures: Tensor) -> np.ndarray:
    """Pictures (b, 3, h, w) in [-1, 1] -> (b, h, w, 3) uint8, rounded to nearest."""
    scaled = (pictures.detach().float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().byte().permute(0, 2, 3, 1).cpu().numpy()


def grid(pictures: np.ndarray, columns: int) -> np.ndarray:
    """Pictures (b, h, w, 3) in rows of `columns`, with a white gap."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), BACKGROUND, np.uint8)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def label_grid(pictures: np.ndarray, row_names: Sequence[str], columns: int) -> np.ndarray:
    """A grid with a name before each row; small pictures are enlarged."""
    pictures = enlarge(pictures)
    sheet, font = grid(pictures, columns), ImageFont.load_default(size=14)
    margin = max((int(font.getlength(name)) for name in row_names), default=0) + 12
    canvas = Image.new("RGB", (margin + sheet.shape[1], sheet.shape[0]), (BACKGROUND,) * 3)
    canvas.paste(Image.fromarray(sheet), (margin, 0))
    draw, pitch = ImageDraw.Draw(canvas), pictures.shape[1] + GAP
    for row, name in enumerate(row_names):
        draw.text((margin - 8, row * pitch + pictures.shape[1] // 2), name, fill=INK, font=font, anchor="rm")
    return np.asarray(canvas)


def layout_sheet(pictures: np.ndarray, layouts: np.ndarray, titles: Sequence[str]) -> np.ndarray:
    """Each picture, its layout's argmax in colour, and the map of every entity, a row a picture (paper, Fig. 5).

    Args:
        pictures: (b, h, w, 3) uint8.
        layouts: (b, n, h', w') floating point; enlarged to the pictures by pixel repetition.
        titles: a name for each row.

    Entity maps share one scale, from 0 (black) to the largest weight of the sheet (white).
    """
    pictures = enlarge(pictures)
    size = pictures.shape[1:3]
    peak = max(float(layouts.max()), 1e-9)
    tiles = []
    for picture, layout in zip(pictures, layouts, strict=True):
        maps = np.repeat((layout / peak * 255).round().astype(np.uint8)[..., None], 3, axis=-1)
        tiles += [picture, _resize(colour_layout(layout), size), *(_resize(entity, size) for entity in maps)]
    return label_grid(np.stack(tiles), titles, columns=2 + layouts.shape[1])


def colour_layout(layout: np.ndarray) -> np.ndarray:
    """The entity with the largest weight at each pixel as a colour; layout (n, h, w) -> (h, w, 3) uint8."""
    return entity_colours(layout.shape[0])[layout.argmax(0)]


def entity_colours(count: int) -> np.ndarray:
    """`count` colours that differ in hue and, between neighbours, in brightness; (count, 3) uint8."""
    colours = [colorsys.hsv_to_rgb(i / count, (0.85, 0.55)[i % 2], (0.95, 0.75)[i // 2 % 2]) for i in range(count)]
    return (np.array(colours) * 255).round().astype(np.uint8)


def enlarge(pictures: np.ndarray) -> np.ndarray:
    """Repeats the pixels of small pictures (b, h, w, 3) by a whole factor."""
    factor = max(1, SMALLEST_TILE // max(pictures.shape[1:3]))
    return pictures.repeat(factor, axis=1).repeat(factor, axis=2)


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Writes a picture (h, w, 3) uint8; the format follows the file's name.

    Raises:
        UserError: the name's format is unknown, or the file cannot be written.
    """
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise UserError(f"{path}: the name must end in a picture format such as .png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}") from error


def _resize(picture: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    height, width = size
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST))
