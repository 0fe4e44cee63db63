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
from attnorm.errors import UserError, counted


class Given(NamedTuple):
    """An image to complete. mask: (h, w) bool, True where pixels are missing. own: the array (h, w, c) that it was."""

    image: EditableImage
    mask: np.ndarray
    own: np.ndarray | None

    def finish(self, rgb: np.ndarray, output_type: str) -> Any:
        """The completed pixels (h, w, 3) uint8 as a PIL image or an array, with the known ones as they were given."""
        own, out = self.own, self.image.composite(rgb, self.mask)
        if output_type == "pil":
            return out
        if own is None or own.dtype == np.uint8:
            return np.float32(rgb) / 255 if own is None else np.asarray(out)
        black = _black(own)
        return np.where(self.mask[..., None], rgb / 255 * (1 - black) + black, own).astype(own.dtype)


def read_inputs(image: Any, mask: Any, **options: Any) -> list[Given]:
    """Each image with its mask; `options` are those of `check_mask`. A UserError names the argument that is wrong."""
    images = _several(image)
    masks = [None] if mask is None else _several(mask, len(images))
    if len(masks) not in (1, len(images)) or not images:
        raise UserError(f"mask: {counted(len(images), 'image')} need one mask, or as many, got {len(masks)}")
    with pillow_quiet():
        return [_read(one, masks[number % len(masks)], number, options) for number, one in enumerate(images)]


def _read(image: Any, mask: Any, number: int, options: dict[str, Any]) -> Given:
    with _blaming("image", image, number):
        editable = EditableImage(_load(image))
        missing = editable.transparent() if mask is None else None
    with _blaming("image", image, number) if mask is None else _blaming("mask", mask, number):
        missing = check_mask(_load_mask(mask) if missing is None else missing, editable.size, **options)
    return Given(editable, missing, image if isinstance(image, np.ndarray) else None)


@contextmanager
def _blaming(argument: str, value: Any, number: int) -> Iterator[None]:
    """Errors of the block become a UserError that names the argument: the file, or its number in a list."""
    try:
        yield
    except DecodeError as error:
        name = value if isinstance(value, (str, PathLike)) else number
        raise UserError(f"{argument} {name}: {error}") from error


def _several(value: Any, count: int = 0) -> list[Any]:
    """The items of a list or batch, or the only item; tensors as arrays. Of `count` images, (count, h, w) are masks."""
    if isinstance(value, (list, tuple)):
        return [item for each in value for item in _several(each)]
    is_stack = isinstance(value, (np.ndarray, Tensor)) and value.ndim == 3 and len(value) == count
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
        value = value if is_stack or value.ndim < 3 else np.moveaxis(value, -3, -1)
    return list(value) if is_stack or (isinstance(value, np.ndarray) and value.ndim == 4) else [value]


def _load(value: Any) -> Image.Image:
    """An upright image; of floating-point pixels, their 256 levels."""
    if isinstance(value, (str, PathLike)):
        return open_upright(Path(value))
    if isinstance(value, Image.Image):
        return ImageOps.exif_transpose(value)
    if not isinstance(value, np.ndarray):
        raise DecodeError(f"it must be a file, a PIL image, an array or a tensor, got {type(value).__name__}")
    channels = value.shape[2] if value.ndim == 3 else 1
    if value.dtype.kind == "f" and channels == 3:
        black = _black(value)
        return Image.fromarray(np.rint(np.nan_to_num(value - black) / (1 - black) * 255).astype(np.uint8))
    if value.dtype == np.uint8 and value.ndim in (2, 3) and channels in (1, 3, 4):
        return Image.fromarray(value[..., 0] if value.shape[2:] == (1,) else value)
    raise DecodeError(f"it must have 3 channels, uint8 or floating point, got {channels} of {value.dtype}")


def _load_mask(value: Any) -> np.ndarray:
    """(h, w) bool, True where pixels are missing."""
    mask = value.squeeze() if isinstance(value, np.ndarray) else None
    if mask is None or mask.ndim != 2:
        return mask_from_image(_load(value))
    return mask if mask.dtype == bool else mask >= (128 if mask.max() > 1 else 0.5)


def _black(pixels: np.ndarray) -> int:
    """The value of black in floating-point pixels: -1 if any is negative, else 0."""
    if not np.nanmax(np.abs(pixels)) <= 1:
        raise DecodeError("floating-point values must be in [0, 1] or [-1, 1]: scale them, or give uint8")
    return -1 if np.nanmin(pixels) < 0 else 0
