"""Encoded images, and tensors of images, to uint8 arrays: the only place that looks inside image files."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    from torch import Tensor

_SIXTEEN_BIT_MAX = 65535
OPAQUE, HALF = 255, 128
REDUCED = "attnorm: 8 of 16 bits"  # a name in Pillow's free-form `info`, of no format's own
# Kinds that Pillow cannot draw by itself or that are no images; EPS runs Ghostscript.
_NOT_READ = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"})
# By the ending of a file: what to install so that Pillow opens it.
PACKAGES = {".jxl": "pillow-jxl-plugin", ".avif": "'pillow>=11.3'"}
PACKAGES |= dict.fromkeys((".heic", ".heif", ".hif"), "pillow-heif")
_RECOGNISED = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")  # by their first bytes


class DecodeError(Exception):
    """An image cannot be used; the message is a short reason without the image's name."""


def to_uint8(images: "Tensor") -> np.ndarray:
    """Images (b, 3, h, w) in [-1, 1] -> (b, h, w, 3) uint8, rounded to nearest."""
    scaled = (images.detach().float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().byte().permute(0, 2, 3, 1).cpu().numpy()


def image_endings() -> set[str]:
    """The endings of the files that Pillow opens here, with the plugins that are installed, in small letters."""
    kinds = _kinds()  # first, for it may add to Pillow's endings
    return {ending for ending, kind in Image.registered_extensions().items() if kind in kinds}


def is_image(file: Path) -> bool:
    """Whether a file begins like an image in a common format, whatever its name."""
    try:
        with Image.open(file, formats=[kind for kind in _RECOGNISED if kind in _kinds()]):
            return True
    except Exception:  # whatever it is, it is no such image
        return False


def read_square(source: bytes | Path | np.ndarray, size: int) -> np.ndarray:
    """Crops the centre of an image to a square and scales it with Lanczos: (size, size, 3) uint8; or a DecodeError.

    EXIF orientation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bits and an animation gives
    its first frame.

    Args:
        source: the encoded image, the file that holds it, or its pixels (h, w), (h, w, 1) or (h, w, 3) uint8.
    """
    with _as_decode_error():
        if isinstance(source, np.ndarray):
            image = Image.fromarray(source[..., 0] if source.shape[2:] == (1,) else source)
        else:
            image = open_upright(source)
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2  # an odd pixel goes right or below
        square = to_rgb(image).crop((left, top, left + side, top + side))
        return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


def decode_mask(source: bytes | Path, size: tuple[int, int]) -> np.ndarray:
    """The mask in an image file, at (height, width) = `size`: (height, width) bool, see `mask_from_image`.

    A mask of other proportions is cropped around its centre; it is scaled without mixing pixels.
    """
    image = open_upright(source)
    with _as_decode_error():
        mask = Image.fromarray(mask_from_image(image))
        return np.asarray(ImageOps.fit(mask, size[::-1], Image.Resampling.NEAREST))


def open_upright(source: bytes | Path) -> Image.Image:
    """A decoded image in its own mode, turned as its EXIF orientation says; the first frame of an animation.

    `info[REDUCED]` says whether Pillow has left out the lower 8 of 16 bits of each colour.
    """
    with _as_decode_error():
        encoded = source if isinstance(source, bytes) else source.read_bytes()
        if not encoded:
            raise DecodeError("empty file")
        with Image.open(io.BytesIO(encoded), formats=_kinds()) as image:
            is_reduced = _has_sixteen_bit_colour(image)
            image.load()
            image.info[REDUCED] = is_reduced
            ImageOps.exif_transpose(image, in_place=True)
            return image


def mask_from_image(mask: Image.Image) -> np.ndarray:
    """The missing pixels of a mask image, (h, w) bool: light ones, 128 or more of 255.

    If the image has transparent parts, its opaque pixels are the missing ones, whatever their colour: strokes on a
    layer of their own. A DecodeError says so if no value is light, or if it has several colours of a palette.
    """
    if mask.has_transparency_data:
        opacity = np.asarray(mask.convert("RGBA").getchannel("A"))
        if opacity.min() < OPAQUE:
            return opacity >= HALF
    grey = to_rgb(mask).convert("L")
    colours = (mask.convert("RGB").getcolors() or []) if mask.mode == "P" else []
    if len(colours) > 2 and any(len(set(colour)) > 1 for _, colour in colours):  # type: ignore[arg-type]
        raise DecodeError(f"it has a palette of {len(colours)} colours: make the missing pixels white, others black")
    marked = np.asarray(grey) >= HALF
    low, high = (mask if is_sixteen_bit(mask) else grey).getextrema()
    if low != high and not marked.any():
        light = "32896 or more of 65535" if is_sixteen_bit(mask) else "128 or more of 255"
        raise DecodeError(f"it marks no pixel, its values are {low} to {high}: make the missing pixels light ({light})")
    return marked


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image as 8-bit RGB, transparent parts over white; DecodeError if its range is undefined."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise DecodeError("floating-point pixels have no defined range")
    if is_sixteen_bit(image):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > _SIXTEEN_BIT_MAX:
            raise DecodeError("32-bit pixels have no defined range")
        image = Image.fromarray(((values * 255 + 32767) // _SIXTEEN_BIT_MAX).astype(np.uint8))
    if image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", over.size, "white")
        return Image.alpha_composite(white, over).convert("RGB")
    return image.convert("RGB")


@contextmanager
def _as_decode_error() -> Iterator[None]:
    """Turns whatever Pillow raises into a DecodeError."""
    try:
        yield
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError("not an image in a known format") from None
    except Exception as error:  # decoders of damaged files raise nearly anything, struct.error to KeyError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DecodeError(reason or type(error).__name__) from error


@contextmanager
def pillow_quiet() -> Iterator[None]:
    """Silences Pillow's warnings, of the whole process: it is entered once around all decoding and not per image."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


@lru_cache(maxsize=1)
def _kinds() -> list[str]:
    """The formats that Pillow reads here."""
    for plugin in ("pillow_heif", "pillow_jxl"):
        with suppress(ImportError):
            getattr(import_module(plugin), "register_heif_opener", lambda: None)()  # the other registers itself
    Image.init()
    return [kind for kind in Image.OPEN if kind not in _NOT_READ]


def is_sixteen_bit(image: Image.Image) -> bool:
    return image.mode == "I" or image.mode.startswith("I;16")


def _has_sixteen_bit_colour(image: Image.Image) -> bool:
    """Whether an opened, not yet decoded image has 16 bits for each of several channels: Pillow keeps the upper 8."""
    raw_modes = [tile[3] for tile in getattr(image, "tile", ())]  # such as RGB;16B, alone or first in a tuple
    return image.mode in ("RGB", "RGBA", "LA") and any(
        ";16" in str(mode if isinstance(mode, str) else mode and mode[0]) for mode in raw_modes
    )
