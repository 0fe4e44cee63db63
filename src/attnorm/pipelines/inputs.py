"""What a user gives to be completed: images and masks as files, PIL images, arrays or tensors, in batches or lists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from attnorm.data.compositing import EditableImage, check_mask
from attnorm.data.decode import DecodeError, mask_from_image, open_upright, pillow_quiet
from attnorm.errors import UserError


class Given(NamedTuple):
    """An image to complete. mask: (h, w) bool, True where pixels are missing. own: the array (h, w, c) that it was."""

    image: EditableImage
    mask: np.ndarray
    own: np.ndarray | None

    def finish(self, rgb: np.ndarray, output_type: str) -> Any:
        """The completed pixels (h, w, 3) uint8 as a PIL image or an array, with the known ones as they were given."""
        if output_type == "pil" or (self.own is not None and self.own.dtype == np.uint8):
            out = self.image.composite(rgb, self.mask)
            return out if output_type == "pil" else np.asarray(out)
        if self.own is None:
            return np.float32(rgb) / 255
        lowest = lowest_of(self.own[~self.mask])
        return np.where(self.mask[..., None], rgb / 255 * (1 - lowest) + lowest, self.own).astype(self.own.dtype)


def lowest_of(known: np.ndarray) -> int:
    """The lower end of the range of floating-point pixels: -1 if any is negative, else 0."""
    if not np.abs(known).max() <= 1:
        raise DecodeError("floating-point values must be in [0, 1] or [-1, 1]: scale them, or give uint8")
    return -1 if known.min() < 0 else 0


def read_inputs(image: Any, mask: Any, **options: Any) -> list[Given]:
    """Each image with its mask; `options` are those of `check_mask`. A UserError names the argument that is wrong."""
    images = _several(image)
    masks = [None] if mask is None else _several(mask, len(images))
    if len(masks) not in (1, len(images)) or not images:
        raise UserError(f"mask: {len(images)} images need one mask, or as many, got {len(masks)}")
    return [_read(one, masks[number % len(masks)], number, options) for number, one in enumerate(images)]


def _read(image: Any, mask: Any, number: int, options: dict[str, Any]) -> Given:
    with _blaming("image", image, number):
        loaded, own = _load(image)
    with _blaming("image", image, number) if mask is None else _blaming("mask", mask, number):
        missing = EditableImage(loaded).transparent() if mask is None else _load_mask(mask)
        missing = check_mask(missing, loaded.size[::-1], **options)
    with _blaming("image", image, number):
        if own is not None and own.dtype != np.uint8:
            lowest = lowest_of(own[~missing])
            levels = (np.where(missing[..., None], 0, own) - lowest) / (1 - lowest) * 255
            loaded = Image.fromarray(np.rint(levels).astype(np.uint8))
        return Given(EditableImage(loaded), missing, own)


@contextmanager
def _blaming(argument: str, value: Any, number: int) -> Iterator[None]:
    """Errors of the block become a UserError that names the argument: the file, or its number in a list."""
    try:
        with pillow_quiet():
            yield
    except DecodeError as error:
        name = value if isinstance(value, (str, PathLike)) else number
        raise UserError(f"{argument} {name}: {error}") from error


def _several(value: Any, count: int = 0) -> list[Any]:
    """The items of a list or batch, or the only item. Masks (count, h, w) are one for each of `count` images."""
    if isinstance(value, (np.ndarray, Tensor)) and not (value.ndim == 4 or (value.ndim == 3 and len(value) == count)):
        return [value]
    return list(value) if isinstance(value, (list, tuple, np.ndarray, Tensor)) else [value]


def _load(value: Any) -> tuple[Image.Image, np.ndarray | None]:
    """An upright image, and the array (h, w, c) if it was an array or a tensor; of floating point, it is a blank."""
    if isinstance(value, (str, PathLike)):
        return open_upright(Path(value)), None
    if isinstance(value, Image.Image):
        return ImageOps.exif_transpose(value), None
    if not isinstance(value, (np.ndarray, Tensor)):
        raise DecodeError(f"it must be a file, a PIL image, an array or a tensor, got {type(value).__name__}")
    own = _array(value)
    own = np.moveaxis(own, 0, 2) if isinstance(value, Tensor) and own.ndim == 3 else own
    channels = own.shape[2] if own.ndim == 3 else 1
    if own.ndim in (2, 3) and own.dtype == np.uint8 and channels in (1, 3, 4):
        return Image.fromarray(own.reshape(own.shape if channels > 1 else own.shape[:2])), own
    if own.ndim == 3 and own.dtype.kind == "f" and channels == 3:
        return Image.new("RGB", own.shape[1::-1]), own
    wanted = "a tensor (3, h, w)" if isinstance(value, Tensor) else "an array (h, w, 3)"
    raise DecodeError(f"it must be {wanted}, uint8 or floating point, got {tuple(value.shape)} {value.dtype}")


def _load_mask(value: Any) -> np.ndarray:
    """(h, w) bool, True where pixels are missing."""
    if isinstance(value, (np.ndarray, Tensor)):
        mask = _array(value).squeeze()
        if mask.ndim == 2:
            return mask if mask.dtype == bool else mask >= (128 if mask.max() > 1 else 0.5)
    return mask_from_image(_load(value)[0])


def _array(value: np.ndarray | Tensor) -> np.ndarray:
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
