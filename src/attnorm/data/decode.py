"""Encoded pictures to arrays: the only place that looks inside picture files."""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

_SIXTEEN_BIT_MAX = 65535
OPAQUE, HALF = 255, 128
REDUCED = "attnorm: 8 of 16 bits"  # a name in Pillow's free-form `info`, of no format's own


class DecodeError(Exception):
    """A picture cannot be used; the message is a short reason without the picture's name."""


class Square(NamedTuple):
    """pixels: (size, size, 3) uint8. is_reduced: whether 8 of 16 bits for each colour were left out."""

    pixels: np.ndarray
    is_reduced: bool


def read_square(source: bytes | Path, size: int) -> Square:
    """Decodes a picture, crops its centre to a square and scales that with Lanczos.

    EXIF orientation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bits and an
    animation gives its first frame. `source` is the encoded picture or the file that holds it.

    Raises DecodeError if the picture is empty, damaged, too large or of a kind with no defined 8-bit form.
    """
    image = open_upright(source)
    with _reasons():
        square = centre_square(to_rgb(image))
        pixels = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
        return Square(pixels, image.info[REDUCED])


def decode_mask(source: bytes | Path, size: tuple[int, int]) -> np.ndarray:
    """Which pixels a mask picture marks, at (height, width) = `size`: (height, width) bool, see `marked`.

    A mask of other proportions is cropped around its centre; it is scaled without mixing pixels. Raises DecodeError
    as `read_square` does.
    """
    image = open_upright(source)
    with _reasons():
        hole = Image.fromarray(marked(image))
        return np.asarray(ImageOps.fit(hole, size[::-1], Image.Resampling.NEAREST))


def open_upright(source: bytes | Path) -> Image.Image:
    """A whole decoded picture in its own mode, turned as its EXIF orientation says; its first frame, if it has several.
    `info[REDUCED]` says whether Pillow has left out the lower 8 of 16 bits for each colour.

    Raises DecodeError if it is empty, damaged or too large.
    """
    with _reasons():
        encoded = source if isinstance(source, bytes) else _content(source)
        if not encoded:
            raise DecodeError("empty file")
        with Image.open(io.BytesIO(encoded)) as image:
            _refuse_bomb(image)
            is_reduced = _has_sixteen_bit_colour(image)
            image.load()
            image.info[REDUCED] = is_reduced
            ImageOps.exif_transpose(image, in_place=True)
            return image


def _content(path: Path) -> bytes:
    """The bytes of a file; what is read without an end, as a pipe that nobody writes to, is refused."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # of a folder, the system says that it is one
        raise DecodeError("a pipe or device, not a regular file")
    return path.read_bytes()


def marked(mask: Image.Image) -> np.ndarray:
    """The pixels that a mask picture marks, (h, w) bool: light ones, 128 or more of 255.

    Where the mask has transparent parts, its opaque pixels are the marked ones, whatever their colour: strokes on a
    layer of their own.
    """
    if mask.has_transparency_data:
        opacity = np.asarray(mask.convert("RGBA").getchannel("A"))
        if opacity.min() < OPAQUE:
            return opacity >= HALF
    return np.asarray(to_rgb(mask).convert("L")) >= HALF


def centre_square(image: Image.Image) -> Image.Image:
    """The largest centred square; an odd pixel to spare is cut from the right or the bottom."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def to_rgb(image: Image.Image) -> Image.Image:
    """Any picture as 8-bit RGB, transparent parts over white; DecodeError if its range is undefined."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise DecodeError("floating-point pixels have no defined range")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _sixteen_bit_to_rgb(image)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        return Image.alpha_composite(white, over).convert("RGB")
    return image.convert("RGB")


@contextmanager
def _reasons() -> Iterator[None]:
    """Turns whatever Pillow raises into a DecodeError."""
    try:
        yield
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError("not a picture in a known format") from None
    except Image.DecompressionBombError:  # Pillow's own, of twice the limit that is kept here
        raise DecodeError(f"more than {Image.MAX_IMAGE_PIXELS} pixels (decompression bomb)") from None
    except Exception as error:  # decoders of damaged files raise nearly anything, struct.error to KeyError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DecodeError(reason or type(error).__name__) from error


@contextmanager
def pillow_quiet() -> Iterator[None]:
    """Silences Pillow's warnings; what makes a picture unusable is reported as a DecodeError instead.

    The filters belong to the process, so this is entered once around all decoding and not per picture.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _sixteen_bit_to_rgb(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _SIXTEEN_BIT_MAX:
        raise DecodeError("32-bit pixels have no defined range")
    return Image.fromarray(((values * 255 + 32767) // _SIXTEEN_BIT_MAX).astype(np.uint8)).convert("RGB")


def _refuse_bomb(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise DecodeError(f"{image.width}×{image.height} is more than {limit} pixels (decompression bomb)")


def _has_sixteen_bit_colour(image: Image.Image) -> bool:
    """Whether an opened, not yet decoded picture has 16 bits for each of several channels: Pillow keeps the upper 8."""
    arguments = [
        tile[3] for tile in getattr(image, "tile", ())
    ]  # a raw mode such as RGB;16B, alone or before other things
    return image.mode in ("RGB", "RGBA", "LA") and any(
        ";16" in str(given if isinstance(given, str) else given and given[0]) for given in arguments
    )
