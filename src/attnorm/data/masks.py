"""Masks for training and evaluation. Each is a pure function of (seed, index), so that none has to be saved.

A mask is a boolean array (h, w), True where pixels are missing.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field, model_validator
from typing_extensions import Self

from attnorm.config import Frozen
from attnorm.data.decode import DecodeError, decode_mask, pillow_quiet
from attnorm.data.listing import Skipped, list_images
from attnorm.data.progress import track
from attnorm.errors import UserError

_STROKE_SEGMENTS = (3, 10)  # straight pieces of a stroke before the pen is lifted
_SEGMENT_LENGTH = (0.08, 0.3)  # of the image's shorter side
_TURN = (-0.4 * math.pi, 0.4 * math.pi)  # from one piece to the next, in radians

Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=1000)]


class MaskConfig(Frozen):
    """The kind of masks and their share of the image.

    kind: "centre", a centred square, cut off at the edges; "rectangle", one anywhere; "rectangles", several; "strokes",
        free-form brush strokes (Yu et al. 2019); "mixed", one of the last three, equally likely; "lines", straight
        strokes between random points; or "folder", masks from files.
    fraction: the share of missing pixels, drawn uniformly from this range. Rectangles match it to half a row or
        column; masks of a folder outside of the range are left out; lines ignore it.
    aspect: the longer side of a rectangle is at most this many times the shorter; 1 makes squares.
    count: of "rectangles", how many at least (more where they overlap too much to reach the share); of "lines", how
        many.
    brush: of "strokes" and "lines", the width as a share of the image's shorter side.
    folder: of "folder", where the mask files are: white is missing, see `attnorm.data.decode.decode_mask`.
    """

    kind: Literal["centre", "rectangle", "rectangles", "strokes", "mixed", "lines", "folder"] = "rectangle"
    # At 256 x 256: masks of 96 x 96 to 128 x 128, with an aspect of at most 4/3, as CA trains on.
    fraction: tuple[Share, Share] = (0.14, 0.25)
    aspect: float = Field(4 / 3, ge=1, le=100)
    count: tuple[Count, Count] = (2, 5)
    brush: tuple[Share, Share] = (0.05, 0.12)
    folder: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("fraction", "count", "brush"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"masks.{name} must be a range, got {low} to {high}")
        if (self.kind == "folder") != bool(self.folder):
            raise ValueError("masks.kind folder needs masks.folder, which no other kind takes")
        return self


class Masks:
    """The masks of a configuration at one size (height, width). Raises a UserError if there are none."""

    def __init__(self, config: MaskConfig, size: tuple[int, int]) -> None:
        self.config, self.size = config, size
        self.left_out: list[Skipped] = []  # the name and reason of each file of a folder that is not used
        if config.kind == "folder":
            self._packed, self.left_out = _in_folder(Path(config.folder), config.fraction, size)

    def __call__(self, seed: int, index: int) -> np.ndarray:
        """Mask `index` of `seed`, both 0 or more: (h, w) bool, with at least one pixel missing and one known."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
        if self.config.kind == "folder":
            packed = self._packed[whole(rng, (0, len(self._packed) - 1))]
            return np.unpackbits(packed, count=self.size[0] * self.size[1]).view(bool).reshape(self.size)
        return _KINDS[self.config.kind](rng, self.config, *self.size)

    def batch(self, seed: int, indices: Sequence[int]) -> np.ndarray:
        """(b, h, w) bool."""
        return np.stack([self(seed, int(index)) for index in indices])


def _centre(rng: np.random.Generator, config: MaskConfig, height: int, width: int) -> np.ndarray:
    side = max(1, round(math.sqrt(between(rng, config.fraction) * height * width)))
    rows, columns = _smaller_than_all(min(side, height), min(side, width), height, width)
    mask = np.zeros((height, width), bool)
    _cut(mask, (height - rows) // 2, (width - columns) // 2, rows, columns)
    return mask


def _rectangle(rng: np.random.Generator, config: MaskConfig, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    rows, columns = _sides(rng, between(rng, config.fraction) * mask.size, config.aspect, height, width)
    _cut(mask, whole(rng, (0, height - rows)), whole(rng, (0, width - columns)), rows, columns)
    return mask


def _rectangles(rng: np.random.Generator, config: MaskConfig, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    goal, missing, count = between(rng, config.fraction) * mask.size, 0, whole(rng, config.count)
    for left in range(count, 0, -1):
        area = max(1.0, (goal - missing) / left * (between(rng, (0.5, 1.5)) if left > 1 else 1.0))
        rows, columns = _sides(rng, area, config.aspect, height, width)
        _cut(mask, whole(rng, (0, height - rows)), whole(rng, (0, width - columns)), rows, columns)
        missing = int(np.count_nonzero(mask))
    while missing < math.floor(config.fraction[0] * mask.size):
        rows, columns = _sides(rng, max(1.0, goal - missing), config.aspect, height, width)
        known = np.flatnonzero(~mask)
        row, column = divmod(int(known[whole(rng, (0, len(known) - 1))]), width)  # it covers this known pixel
        top, left = min(max(row - rows // 2, 0), height - rows), min(max(column - columns // 2, 0), width - columns)
        _cut(mask, top, left, rows, columns)
        missing = int(np.count_nonzero(mask))
    mask[-1, -1] &= missing < mask.size  # near a share of 1, rounding may leave no known pixel
    return mask


def _strokes(rng: np.random.Generator, config: MaskConfig, height: int, width: int) -> np.ndarray:
    short = min(height, width)
    goal = min(max(round(between(rng, config.fraction) * height * width), 1), height * width - 1)
    missing = 0
    mask, canvas = np.zeros((height, width), bool), Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    while True:
        thickness = max(1, round(between(rng, config.brush) * short))
        x, y = between(rng, (0, width - 1)), between(rng, (0, height - 1))
        angle = between(rng, (0, 2 * math.pi))
        for _ in range(whole(rng, _STROKE_SEGMENTS)):
            length = between(rng, _SEGMENT_LENGTH) * short
            x2 = min(max(x + length * math.cos(angle), 0), width - 1)
            y2 = min(max(y + length * math.sin(angle), 0), height - 1)
            _stroke(pen, (x, y), (x2, y2), thickness)
            # Only the box around the piece: whole images would take most of the time.
            reach = thickness // 2 + 2
            left, right = max(int(min(x, x2)) - reach, 0), min(int(max(x, x2)) + reach + 1, width)
            top, bottom = max(int(min(y, y2)) - reach, 0), min(int(max(y, y2)) + reach + 1, height)
            box = mask[top:bottom, left:right]
            drawn = np.asarray(canvas.crop((left, top, right, bottom)), dtype=bool)
            added = int(np.count_nonzero(drawn)) - int(np.count_nonzero(box))
            if missing + added >= goal:
                _cut_first(box, drawn, goal - missing, (x - left, y - top))
                return mask
            box[...], missing = drawn, missing + added
            if x2 in (0, width - 1) or y2 in (0, height - 1):
                break  # the pen left the image, and would draw along its edge
            x, y, angle = x2, y2, angle + between(rng, _TURN)


def _mixed(rng: np.random.Generator, config: MaskConfig, height: int, width: int) -> np.ndarray:
    kinds = (_rectangle, _rectangles, _strokes)
    return kinds[int(rng.random() * len(kinds))](rng, config, height, width)


def _lines(rng: np.random.Generator, config: MaskConfig, height: int, width: int) -> np.ndarray:
    canvas = Image.new("L", (width, height))
    pen = ImageDraw.Draw(canvas)
    for _ in range(whole(rng, config.count)):
        start, end = ((between(rng, (0, width - 1)), between(rng, (0, height - 1))) for _ in range(2))
        _stroke(pen, start, end, max(1, round(between(rng, config.brush) * min(height, width))))
    return np.array(canvas, dtype=bool)


def _stroke(pen: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float], thickness: int) -> None:
    """Draws a straight piece with round ends."""
    radius = thickness / 2
    pen.line([start, end], fill=1, width=thickness)
    for x, y in (start, end):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)


def _cut_first(box: np.ndarray, drawn: np.ndarray, count: int, start: tuple[float, float]) -> None:
    """Cuts so many of the newly drawn pixels, from the start of the piece on, so that the share is exact."""
    rows, columns = np.nonzero(drawn & ~box)
    nearest = np.argsort(np.hypot(columns - start[0], rows - start[1]), kind="stable")[:count]
    box[rows[nearest], columns[nearest]] = True


def _sides(rng: np.random.Generator, area: float, aspect: float, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of a rectangle of about this area that fits into the image."""
    ratio = math.exp(between(rng, (-math.log(aspect), math.log(aspect))))
    rows = min(max(round(math.sqrt(area * ratio)), 1), height)
    columns = min(max(round(area / rows), 1), width)
    rows = min(max(round(area / columns), 1), height)  # longer if the image is too narrow
    return _smaller_than_all(rows, columns, height, width)


def _smaller_than_all(rows: int, columns: int, height: int, width: int) -> tuple[int, int]:
    """Leaves a column known if rounding gave a mask of the whole image."""
    return rows, columns - (rows == height and columns == width)


def _cut(mask: np.ndarray, top: int, left: int, rows: int, columns: int) -> None:
    mask[top : top + rows, left : left + columns] = True


def _in_folder(folder: Path, fraction: tuple[float, float], size: tuple[int, int]) -> tuple[np.ndarray, list[Skipped]]:
    """The folder's masks at one size, eight pixels a byte (m, bytes), and (name, reason) of the others."""
    images, masks, left_out = list_images(folder)
    files = list(masks) or images  # if both are in one folder, the masks
    kept: list[np.ndarray] = []
    with pillow_quiet():
        for file in track(files, "reading masks", len(files)):
            name = file.relative_to(folder).as_posix()
            try:
                mask = decode_mask(file, size)
            except DecodeError as error:
                left_out.append((name, str(error)))
                continue
            share = np.count_nonzero(mask) / mask.size
            if fraction[0] <= share <= fraction[1]:
                kept.append(np.packbits(mask))
            else:
                left_out.append((name, f"{share:.1%} of its pixels are missing"))
    if not kept:
        raise UserError(
            f"{folder} has no mask with {fraction[0]:.1%} to {fraction[1]:.1%} of its pixels missing "
            f"({left_out[0][0]}: {left_out[0][1]}): set the mask fraction, or give other masks (white is missing)"
        )
    return np.stack(kept), left_out


def between(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    """A number from the interval `bounds`; ten times as fast as the generator's own scalar draws."""
    low, high = bounds
    return low + (high - low) * float(rng.random())


def whole(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    """An integer from `bounds`, both ends included."""
    low, high = bounds
    return low + int(rng.random() * (high - low + 1))


_KINDS: dict[str, Callable[[np.random.Generator, MaskConfig, int, int], np.ndarray]] = {
    "centre": _centre,
    "rectangle": _rectangle,
    "rectangles": _rectangles,
    "strokes": _strokes,
    "mixed": _mixed,
    "lines": _lines,
}
