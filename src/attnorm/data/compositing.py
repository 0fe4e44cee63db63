"""An image to be completed: what a network sees of it, windows around what is missing, and compositing that changes
nothing outside the mask.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from scipy import ndimage

from attnorm.data.decode import HALF, REDUCED, DecodeError, is_sixteen_bit, to_rgb

_KEPT_MODES = ("RGB", "RGBA", "L", "LA")
_GREY_MODES = ("1", "L", "LA", "La")
_SIXTEEN_FROM_EIGHT = 257
CONTEXT = 2  # side of a window relative to its region: in the paper, 128 of 256 pixels are missing
CELLS = 8  # regions closer than a window's side divided by this are one region


class EditableImage:
    """An upright image that keeps its own pixels: grey stays grey, 16-bit grey 16-bit, transparent transparent.

    Palettes become RGB or RGBA, bilevel becomes grey, and CMYK and other colour spaces become RGB, because a completion
    cannot be written in theirs: there the known pixels are those of Pillow's conversion. A DecodeError refuses pixels
    with no defined 8-bit or 16-bit range.
    """

    def __init__(self, image: Image.Image) -> None:
        self.is_reduced: bool = image.info.get(REDUCED, False)  # to 8 of 16 bits for each colour, when it was read
        self._sixteen_bit = is_sixteen_bit(image)
        self.rgb = np.asarray(to_rgb(image))  # (h, w, 3) uint8, transparent parts over white
        self.profile: bytes | None = image.info.get("icc_profile")
        self._info: dict[str | tuple[int, int], Any] = {"dpi": image.info["dpi"]} if "dpi" in image.info else {}
        if image.info.get("exif"):
            self._info["exif"] = image.getexif().tobytes()  # without the preview, which shows the erased content
        if isinstance(image, JpegImageFile) and image.mode in ("RGB", "L"):  # a JPEG file then has the same quality
            self._info |= {"qtables": image.quantization, "subsampling": get_sampling(image)}
        if self._sixteen_bit:
            self._own = np.asarray(image).astype(np.uint16)
            return
        if image.mode in _KEPT_MODES and "transparency" not in image.info:
            own = image
        elif image.has_transparency_data:
            own = image.convert("LA" if image.mode in _GREY_MODES else "RGBA")
        else:
            own = image.convert("L" if image.mode in _GREY_MODES else "RGB")
            if image.mode not in (*_GREY_MODES, "P", "RGBX"):
                self.profile = None  # it describes the previous colour space
        self._own = np.asarray(own)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self._own.shape[0], self._own.shape[1]

    def transparent(self) -> np.ndarray:
        """The pixels that are more transparent than opaque, (h, w) bool; DecodeError if there is no transparency."""
        if self._sixteen_bit or self._own.ndim != 3 or self._own.shape[2] == 3:
            raise DecodeError("it has no transparent pixels to use as the mask: give a mask")
        return self._own[..., -1] < HALF

    def composite(self, rgb: np.ndarray, mask: np.ndarray) -> Image.Image:
        """The image with the pixels of `mask` (h, w) bool from rgb (h, w, 3) uint8, opaque; all others stay.

        Its colour profile, EXIF data, resolution and JPEG tables are in `info`, by the names of options of Pillow's
        `save`.
        """
        if self._own.ndim == 2 or self._own.shape[2] == 2:  # grey
            colour = np.asarray(Image.fromarray(rgb).convert("L"))[..., None]
        else:
            colour = rgb
        if self._own.ndim == 3 and self._own.shape[2] in (2, 4):
            colour = np.concatenate([colour, np.full_like(colour[..., :1], 255)], axis=2)
        if self._sixteen_bit:
            colour = colour.astype(np.uint16) * _SIXTEEN_FROM_EIGHT
        out = np.where(mask[..., None], colour, self._own.reshape(*mask.shape, -1))
        image = Image.fromarray(out.reshape(self._own.shape))
        image.info |= self._info | ({"icc_profile": self.profile} if self.profile is not None else {})
        return image


def check_mask(
    mask: np.ndarray, size: tuple[int, int], resize: bool = False, remedy: str = "give one of its size"
) -> np.ndarray:
    """The mask (h, w) bool for an image of (height, width) = `size`, scaled to it without mixing pixels if `resize`.

    A DecodeError says that it marks no pixel or every one, or, with the `remedy`, that it has another size.
    """
    if mask.shape != size:
        found, wanted = (f"{width}×{height}" for height, width in (mask.shape, size))
        if not resize:
            raise DecodeError(f"the mask is {found}, not {wanted} like the image: {remedy}")
        mask = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
    if not mask.any():
        raise DecodeError("the mask marks no pixel: light pixels (128 or more of 255) are the missing ones")
    if mask.all():
        raise DecodeError("the mask marks every pixel: leave some pixels known")
    return mask


class Box(NamedTuple):
    """Rows top to bottom and columns left to right, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    def union(self, other: "Box") -> "Box":
        tops, bottoms, lefts, rights = zip(self, other, strict=True)
        return Box(min(tops), max(bottoms), min(lefts), max(rights))

    def overlaps(self, other: "Box") -> bool:
        tops, bottoms, lefts, rights = zip(self, other, strict=True)
        return max(tops) < min(bottoms) and max(lefts) < min(rights)


def windows_of(mask: np.ndarray, side: int, multiple: int = 1) -> list[Box]:
    """Boxes that cover all missing regions of a mask (h, w) bool, each region in one box, no two boxes overlapping.

    A box is at least `side` and twice its region long in each direction, rounded up to a `multiple`, as far as the
    image reaches. Regions whose boxes would overlap share one.
    """
    kept: list[tuple[Box, Box]] = []  # (around the regions, the window)
    for region in _regions(mask, max(1, side // CELLS)):
        window = _window(region, mask.shape, side, multiple)
        while touching := [pair for pair in kept if pair[1].overlaps(window)]:
            for pair in touching:
                kept.remove(pair)
                region = region.union(pair[0])
            window = _window(region, mask.shape, side, multiple)
        kept.append((region, window))
    return sorted(window for _, window in kept)


def _window(region: Box, shape: tuple[int, ...], side: int, multiple: int) -> Box:
    ends = []
    for start, end, limit in ((region.top, region.bottom, shape[0]), (region.left, region.right, shape[1])):
        length = -(-max(side, CONTEXT * (end - start)) // multiple) * multiple
        length = min(length, limit)
        first = min(max((start + end - length) // 2, 0), limit - length)
        ends += [first, first + length]
    return Box(*ends)


def _regions(mask: np.ndarray, cell: int) -> Iterator[Box]:
    """The boxes around the connected parts of a mask, seen in cells of some pixels."""
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % cell), (0, -width % cell)))
    rows, columns = padded.shape[0] // cell, padded.shape[1] // cell
    marked = padded.reshape(rows, cell, columns, cell).any((1, 3))
    parts, _ = ndimage.label(marked, np.ones((3, 3)))
    for row, column in ndimage.find_objects(parts):
        yield Box(row.start * cell, min(row.stop * cell, height), column.start * cell, min(column.stop * cell, width))
