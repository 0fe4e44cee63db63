"""Inpainting of images of any size and mode; known pixels do not change."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn import functional

from attnorm.data.compositing import Box, EditableImage, check_mask, windows_of
from attnorm.data.decode import DecodeError, mask_from_image, open_upright, pillow_quiet, to_uint8
from attnorm.data.progress import progress
from attnorm.errors import UserError
from attnorm.files import explained
from attnorm.metrics.layout import record_layouts
from attnorm.models.inpainting import Inpainted, InpaintingGenerator
from attnorm.pipelines.base import Output, Pipeline, PipelineOutput, check_choice

Mode = Literal["auto", "native", "crop", "resize"]
Stage = Literal["coarse", "refined"]
SMALLEST_SIDE = 32
NATIVE_SIDE = 512  # "auto" uses windows for larger images


class Plan(NamedTuple):
    """How to complete an image: the mode that "auto" chose, the windows, and their sizes in the network."""

    mode: str
    windows: list[Box]
    sizes: list[tuple[int, int]]

    @property
    def pixels(self) -> int:
        """The number of pixels in the largest pass."""
        return max((height * width for height, width in self.sizes), default=0)


class Stages(NamedTuple):
    """Outputs of both stages (b, h, w, 3) uint8, including known pixels; layouts (b, n, h', w') by layer name."""

    coarse: np.ndarray
    refined: np.ndarray
    layouts: dict[str, np.ndarray]


class Given(NamedTuple):
    """An image to complete. mask: (h, w) bool, True where pixels are missing. own: the given array (h, w, c) if any,
    and black its value of black."""

    image: EditableImage
    mask: np.ndarray
    own: np.ndarray | None
    black: int

    def finish(self, rgb: np.ndarray, output_type: str) -> Any:
        """The completed image (rgb is (h, w, 3) uint8) as a PIL image or an array, with unchanged known pixels."""
        own, out = self.own, self.image.composite(rgb, self.mask)
        if output_type == "pil":
            return out
        if own is None or own.dtype == np.uint8:
            return np.float32(rgb) / 255 if own is None else np.asarray(out)
        completed = rgb / 255 * (1 - self.black) + self.black
        return np.where(self.mask[..., None], completed, own).astype(own.dtype)


class InpaintingPipeline(Pipeline[InpaintingGenerator]):
    """Completes the missing parts of images::

        pipe = InpaintingPipeline.from_pretrained("runs/photos")
        completed = pipe(image, mask).images[0]

    Images may have any size; several go through the network one after the other.
    """

    task = "inpainting"
    network_class = InpaintingGenerator

    def __call__(
        self, image: Any, mask: Any = None, mode: Mode = "auto", *, mask_image: Any = None, output_type: Output = "pil"
    ) -> PipelineOutput:
        """Completes one or several images. Known pixels are returned unchanged.

        Raises a UserError for sizes that differ, an empty or full mask, or sides below 32 pixels.

        Args:
            image: a file or a PIL image of any mode; an array (h, w), (h, w, 3) or (h, w, 4) or a tensor (c, h, w),
                uint8 or floating point; a batch, or a list of these. Floating point is in [-1, 1] if any of the images
                has a negative value, and else in [0, 1].
            mask: one for all images or one for each: a file or a PIL image, white where pixels are missing, or an array
                or tensor (h, w) or (1, h, w): True, 1, or 128 and more. None for the images' transparent pixels.
            mode: what the network sees: "native", the whole image at its own size; "crop", a window around each missing
                part, at least as large as the training images and twice the part; "resize", the whole image scaled
                down to their size, for a soft completion; "auto", native up to 512 pixels a side, and crop above.
            mask_image: the name of `mask` in diffusers.
            output_type: "pil", upright, and in the image's own mode if possible; or "np", arrays (h, w, c), or "pt",
                tensors (c, h, w), of the type and range of an array or tensor, else float32 in [0, 1].
        """
        check_choice("output_type", output_type, get_args(Output))
        given = read_inputs(image, mask_image if mask is None else mask)
        done = self.complete([one.image.rgb for one in given], [one.mask for one in given], mode)
        return PipelineOutput([one.finish(rgb, output_type) for one, rgb in zip(given, done, strict=True)], output_type)

    def complete(
        self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], mode: Mode = "auto", stage: Stage = "refined"
    ) -> list[np.ndarray]:
        """Completes images (h, w, 3) uint8 with masks (h, w) bool, one after the other."""
        out, plans = [image.copy() for image in images], [self.plan(mask, mode) for mask in masks]
        passes = sum(len(plan.windows) for plan in plans)
        layers = [module for module in self.generator.modules() if isinstance(module, nn.ELU)]
        with progress("completing", passes * len(layers), show=self._show_progress) as advance, ExitStack() as hooks:
            for layer in layers:  # counted, because one pass of a large image can take minutes
                hooks.enter_context(layer.register_forward_hook(lambda *_: advance(1)))
            for image, mask, plan in zip(out, masks, plans, strict=True):
                for window, size in zip(plan.windows, plan.sizes, strict=True):
                    part, missing = image[window.slices], mask[window.slices]
                    part[missing] = self._completed(part, missing, size, stage)[missing]
        return out

    def stages(self, images: np.ndarray, masks: np.ndarray) -> Stages:
        """Outputs of both stages and layouts, for whole images (b, h, w, 3) uint8 with masks (b, h, w)."""
        with record_layouts(self.generator) as layouts:
            coarse, refined = map(to_uint8, self._network(*_as_tensors(images, masks)))
        return Stages(coarse, refined, {name: layout.float().cpu().numpy() for name, layout in layouts.items()})

    def plan(self, mask: np.ndarray, mode: Mode = "auto") -> Plan:
        """The plan for an image with this mask (h, w) bool; UserError if a side is below 32 pixels."""
        check_choice("mode", mode, get_args(Mode))
        size, config = mask.shape, self.generator.config
        if min(size) < SMALLEST_SIDE:
            raise UserError(f"an image must have at least {SMALLEST_SIDE} pixels a side, got {size[1]}×{size[0]}")
        if mode == "auto":
            mode = "native" if max(size) <= NATIVE_SIDE else "crop"
        if mode == "crop":
            windows = windows_of(mask, config.image_size, config.stride)
            return Plan(mode, windows, [window.size for window in windows])
        # "resize" scales the longer side down to that of the training images, but no side below 32.
        scale = max(config.image_size / max(size), SMALLEST_SIDE / min(size))
        resized = (round(size[0] * scale), round(size[1] * scale)) if mode == "resize" and scale < 1 else size
        return Plan(mode, [Box(0, size[0], 0, size[1])], [resized])

    def _completed(self, image: np.ndarray, mask: np.ndarray, size: tuple[int, int], stage: Stage) -> np.ndarray:
        """The output of a stage for an image (h, w, 3) uint8, which the network sees at `size`."""
        x, missing = _as_tensors(image[None], mask[None])
        if size != mask.shape:
            # A pixel is the mean of its cell, and missing if any pixel of the cell is.
            x = functional.adaptive_avg_pool2d(x, size)
            missing = functional.adaptive_max_pool2d(missing.float(), size) > 0
        completed = torch.where(missing, getattr(self._network(x, missing), stage), x)
        if size != mask.shape:
            completed = functional.interpolate(completed, mask.shape, mode="bicubic")
        return to_uint8(completed)[0]

    def _network(self, x: Tensor, mask: Tensor) -> Inpainted:
        """The network's output, on the CPU, for images (b, 3, h, w) of any size with masks (b, 1, h, w)."""
        height, width = x.shape[2:]
        stride = self.generator.config.stride
        margin = (0, -width % stride, 0, -height % stride)
        x, mask = (functional.pad(t.float(), margin, mode="reflect") for t in (x, mask))
        out = self._run(x.contiguous(memory_format=torch.channels_last), mask)
        return Inpainted(*(images[..., :height, :width].cpu() for images in out))


def _as_tensors(images: np.ndarray, masks: np.ndarray) -> tuple[Tensor, Tensor]:
    """Images (b, h, w, 3) uint8 as (b, 3, h, w) in [-1, 1], and masks (b, h, w) as (b, 1, h, w) bool."""
    x = torch.tensor(images).permute(0, 3, 1, 2) / 127.5 - 1  # a copy, because Pillow's arrays are read-only
    return x, torch.from_numpy(masks != 0)[:, None]


def read_inputs(image: Any, mask: Any, **options: Any) -> list[Given]:
    """Each image with its mask. `options` are for `check_mask`. A UserError names the invalid argument."""
    images = _several(image)
    masks = [None] if mask is None else _several(mask, len(images))
    if len(masks) not in (1, len(images)) or not images:
        raise UserError(f"mask: {len(images)} images need 1 or {len(images)} masks, got {len(masks)}")
    floating = [one for one in images if isinstance(one, np.ndarray) and one.dtype.kind == "f"]
    black = -1 if any(np.nanmin(one, initial=0) < 0 for one in floating) else 0
    with pillow_quiet():
        return [_read(one, masks[number % len(masks)], number, black, options) for number, one in enumerate(images)]


def read_mask(mask: Any) -> np.ndarray:
    """A mask (h, w) bool, True where pixels are missing. A UserError names the mask and says what is wrong."""
    with pillow_quiet(), _blaming("mask", mask, 0):
        return _load_mask(mask)


def _read(image: Any, mask: Any, number: int, black: int, options: dict[str, Any]) -> Given:
    with _blaming("image", image, number):
        editable = EditableImage(_load(image, black))
        missing = editable.transparent() if mask is None else None
    with _blaming("image", image, number) if mask is None else _blaming("mask", mask, number):
        missing = check_mask(_load_mask(mask) if missing is None else missing, editable.size, **options)
    return Given(editable, missing, image if isinstance(image, np.ndarray) else None, black)


def _blaming(argument: str, value: Any, number: int) -> AbstractContextManager[None]:
    """Turns errors in the block into a UserError that names the argument: the file, or its number in a list."""
    name = value if isinstance(value, (str, PathLike)) else number
    return explained(f"cannot use {argument} {name}", "", DecodeError)


def _several(value: Any, count: int = 0) -> list[Any]:
    """The items of a list or batch, or the only item; tensors as arrays. (count, h, w) is a batch of `count` masks."""
    if isinstance(value, (list, tuple)):
        return [item for each in value for item in _several(each)]
    is_stack = isinstance(value, (np.ndarray, Tensor)) and value.ndim == 3 and len(value) == count
    if isinstance(value, Tensor):
        value = (value.float() if value.dtype == torch.bfloat16 else value).detach().cpu().numpy()
        value = value if is_stack or value.ndim < 3 else np.moveaxis(value, -3, -1)
    return list(value) if is_stack or (isinstance(value, np.ndarray) and value.ndim == 4) else [value]


def _load(value: Any, black: int = 0) -> Image.Image:
    """An upright image; floating-point pixels, from `black` to 1, become 8-bit."""
    if isinstance(value, (str, PathLike)):
        return open_upright(Path(value))
    if isinstance(value, Image.Image):
        return ImageOps.exif_transpose(value)
    if not isinstance(value, np.ndarray):
        raise DecodeError(f"it must be a file, a PIL image, an array or a tensor, got {type(value).__name__}")
    channels = value.shape[2] if value.ndim == 3 else 1
    if value.dtype.kind == "f" and channels == 3:
        if not (black <= np.nanmin(value) and np.nanmax(value) <= 1):
            raise DecodeError("floating-point values must be in [0, 1] or [-1, 1]: scale them, or give uint8")
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
