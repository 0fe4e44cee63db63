"""Completed images of any size and kind from a trained inpainting model; known pixels stay untouched."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar, get_args

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from attnorm.data.compositing import EditableImage, check_mask
from attnorm.data.crops import Box, windows_of
from attnorm.data.decode import DecodeError, mask_from_image, to_uint8
from attnorm.errors import UserError
from attnorm.metrics.layout import record_layouts
from attnorm.models.inpainting import InpaintingGenerator
from attnorm.pipelines.base import Pipeline

Mode = Literal["auto", "native", "crop", "resize"]
MODES: tuple[str, ...] = get_args(Mode)
Stage = Literal["coarse", "refined"]
SMALLEST_SIDE = 32
NATIVE_SIDE = 512  # "auto" looks at larger images through windows

Images = TypeVar("Images", Image.Image, list[Image.Image], Tensor)


class Plan(NamedTuple):
    """How one image will be completed: the mode that "auto" chose, the windows, and their sizes in the network."""

    mode: str
    windows: list[Box]
    sizes: list[tuple[int, int]]

    @property
    def pixels(self) -> int:
        """The most pixels in one pass."""
        return max((height * width for height, width in self.sizes), default=0)


class Stages(NamedTuple):
    """Both stages' images (b, h, w, 3) uint8, before the known pixels are put back; layouts (b, n, h', w') float32 by
    layer name.
    """

    coarse: np.ndarray
    refined: np.ndarray
    layouts: dict[str, np.ndarray]


class _Job(NamedTuple):
    """A window of an item, and the network's input for it."""

    item: int
    window: Box
    image: Tensor  # (3, h, w)
    mask: Tensor  # (1, h, w) bool


class InpaintingPipeline(Pipeline[InpaintingGenerator]):
    """Completes the missing parts of images::

        pipe = InpaintingPipeline.from_pretrained("runs/photos")
        completed = pipe(image, mask)

    A mode says how much of an image the network sees at once:

    - "native": the whole image at its own size;
    - "crop": a window around each missing part, at least as large as the training images and twice the part;
    - "resize": the whole image scaled down to the training images' size; the completion is scaled up, and soft;
    - "auto": native up to 512 pixels a side, and crop above.
    """

    task = "inpainting"
    network_class = InpaintingGenerator

    def __call__(
        self, image: Images, mask: Image.Image | Sequence[Image.Image] | Tensor, mode: Mode = "auto"
    ) -> Images:
        """Completes an image, several, or a batch, and returns the same kind of thing.

        Args:
            image: an image, of any mode, or a sequence of images; or a tensor (3, h, w) or (b, 3, h, w), uint8, or
                floating point in [-1, 1].
            mask: for images, an image, or one for each: light pixels are missing. For tensors,
                (h, w), (1, h, w) or (b, 1, h, w): True, 1, or on a scale to 255 at least 128 is missing.
            mode: see the class.

        Returns:
            every known pixel exactly as it was given. A PIL image comes back upright, in its own mode if possible.

        Raises:
            UserError: sizes that differ, a mask of nothing or everything, sides below 32 pixels, or too little memory.
        """
        if isinstance(image, Tensor) and isinstance(mask, Tensor):
            return self._complete_tensors(image, mask, mode)
        if isinstance(image, Image.Image) and isinstance(mask, Image.Image):
            return self._complete_images([image], [mask], mode)[0]
        if isinstance(image, Sequence) and all(isinstance(one, Image.Image) for one in image):
            masks = [mask] * len(image) if isinstance(mask, Image.Image) else mask
            if not isinstance(masks, Sequence) or len(masks) != len(image):
                raise UserError(f"{len(image)} images need one mask, or as many")
            return self._complete_images(image, masks, mode)  # type: ignore[return-value]
        kinds = f"{type(image).__name__} and {type(mask).__name__}"
        raise UserError(f"the image and the mask must both be PIL images, or both tensors, got {kinds}")

    def complete(
        self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], mode: Mode = "auto", stage: Stage = "refined"
    ) -> list[np.ndarray]:
        """Completes images (h, w, 3) uint8, each with its mask (h, w) bool; they may differ in size.

        Windows of one size go through the network together, up to as many at once as there are images.
        """
        # Copies, because arrays that Pillow or a memory map lends cannot be written to.
        given = [torch.tensor(image).permute(2, 0, 1) for image in images]
        found = self._complete(given, [torch.tensor(mask) for mask in masks], mode, stage)
        return [image.permute(1, 2, 0).contiguous().numpy() for image in found]

    def stages(self, images: np.ndarray, masks: np.ndarray) -> Stages:
        """Both stages' images, and the layouts, of images (b, h, w, 3) uint8 with masks (b, h, w), whole."""
        x = _in_unit_range(torch.tensor(images).permute(0, 3, 1, 2))
        with record_layouts(self.generator) as layouts:
            out = self._run(x, torch.from_numpy(masks != 0)[:, None])
        arrays = {name: layout.cpu().numpy() for name, layout in layouts.items()}
        return Stages(to_uint8(out[0]), to_uint8(out[1]), arrays)

    def plan(self, mask: np.ndarray, mode: Mode = "auto") -> Plan:
        """How an image with this mask (h, w) bool would be completed; UserError if it has sides below 32 pixels."""
        if mode not in MODES:
            raise UserError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        size, config = mask.shape, self.generator.config
        if min(size) < SMALLEST_SIDE:
            raise UserError(f"an image must have at least {SMALLEST_SIDE} pixels a side, got {size[1]}×{size[0]}")
        if mode == "auto":
            mode = "native" if max(size) <= NATIVE_SIDE else "crop"
        if mode == "crop":
            windows = windows_of(mask, config.image_size, config.stride)
            return Plan(mode, windows, [window.size for window in windows])
        # "resize" makes the longer side that of the training images, but no side below 32, and enlarges nothing.
        scale = max(config.image_size / max(size), SMALLEST_SIDE / min(size))
        resized = (round(size[0] * scale), round(size[1] * scale)) if mode == "resize" and scale < 1 else size
        return Plan(mode, [Box(0, size[0], 0, size[1])], [resized])

    def _complete_images(
        self, images: Sequence[Image.Image], masks: Sequence[Image.Image], mode: Mode
    ) -> list[Image.Image]:
        try:
            editable = [EditableImage(ImageOps.exif_transpose(image)) for image in images]
            missing = [
                check_mask(mask_from_image(ImageOps.exif_transpose(mask)), image.size)
                for mask, image in zip(masks, editable, strict=True)
            ]
        except DecodeError as error:
            raise UserError(str(error)) from error
        completed = self.complete([image.rgb for image in editable], missing, mode)
        return [image.composite(rgb, mask) for image, rgb, mask in zip(editable, completed, missing, strict=True)]

    def _complete_tensors(self, images: Tensor, masks: Tensor, mode: Mode) -> Tensor:
        batch = images if images.ndim == 4 else images[None]
        if batch.ndim != 4 or batch.shape[1] != 3 or not (batch.is_floating_point() or batch.dtype == torch.uint8):
            found = f"{tuple(images.shape)} {images.dtype}"
            raise UserError(f"images must be (3, h, w) or (b, 3, h, w), uint8 or floating point, got {found}")
        mask = _mask_of(masks, batch)
        if batch.is_floating_point() and not batch.masked_fill(mask, 0).abs().max() <= 1:
            raise UserError("a floating-point tensor of images must be in [-1, 1]: scale it, or give uint8")
        out = torch.stack(self._complete(list(batch.cpu()), list(mask[:, 0].cpu()), mode)).to(batch.device)
        return out if images.ndim == 4 else out[0]

    @torch.no_grad()
    def _complete(
        self, images: Sequence[Tensor], masks: Sequence[Tensor], mode: Mode, stage: Stage = "refined"
    ) -> list[Tensor]:
        """Copies of images (3, h, w), uint8 or in [-1, 1], completed where the masks (h, w) bool are True."""
        out = [image.clone() for image in images]
        output = get_args(Stage).index(stage)
        for _, same in itertools.groupby(self._jobs(images, masks, mode), key=lambda job: job.image.shape):
            while group := list(itertools.islice(same, max(1, len(images)))):
                x, mask = torch.stack([job.image for job in group]), torch.stack([job.mask for job in group])
                found = torch.where(mask, self._run(x, mask)[output], x)
                for job, completed in zip(group, found, strict=True):
                    if completed.shape[1:] != job.window.size:
                        larger = functional.interpolate(completed[None], job.window.size, mode="bicubic")
                        completed = larger[0].clamp(-1, 1)
                    rows, columns = job.window.slices
                    here = out[job.item][:, rows, columns]
                    here.copy_(torch.where(masks[job.item][rows, columns], _as(here.dtype, completed), here))
        return out

    def _jobs(self, images: Sequence[Tensor], masks: Sequence[Tensor], mode: Mode) -> Iterator[_Job]:
        for item, (image, mask) in enumerate(zip(images, masks, strict=True)):
            plan = self.plan(mask.numpy(), mode)
            for window, size in zip(plan.windows, plan.sizes, strict=True):
                rows, columns = window.slices
                missing = mask[None, rows, columns]
                x = _in_unit_range(image[:, rows, columns]).masked_fill(missing, 0)
                if size != window.size:
                    # Each new pixel is the mean of its cell, and missing if any pixel of the cell is.
                    missing = functional.adaptive_max_pool2d(missing.float(), size) > 0
                    x = functional.adaptive_avg_pool2d(x, size)
                yield _Job(item, window, x, missing)

    @torch.no_grad()
    def _run(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Both stages of the network on images (b, 3, h, w) of any size with masks (b, 1, h, w), on the CPU."""
        height, width = x.shape[2:]
        stride, device = self.generator.config.stride, next(self.generator.parameters()).device
        margin = (0, -width % stride, 0, -height % stride)
        x, missing = (functional.pad(t.float(), margin, mode="reflect").to(device) for t in (x, mask))
        try:
            out = self.generator(x.contiguous(memory_format=torch.channels_last), missing)
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
                raise
            raise UserError(
                f"{len(x)} image(s) of {width}×{height} do not fit into memory: choose the mode crop or resize"
            ) from error
        return out.coarse[..., :height, :width].cpu(), out.refined[..., :height, :width].cpu()


def _in_unit_range(image: Tensor) -> Tensor:
    """uint8 or floating-point values as float32 in [-1, 1]."""
    return image.float() / 127.5 - 1 if image.dtype == torch.uint8 else image.float()


def _as(dtype: torch.dtype, image: Tensor) -> Tensor:
    """float32 values in [-1, 1] as uint8 or floating-point ones."""
    return ((image + 1) * 127.5).round().to(dtype) if dtype == torch.uint8 else image.to(dtype)


def _mask_of(mask: Tensor, images: Tensor) -> Tensor:
    """A mask tensor as (b, 1, h, w) bool for images (b, 3, h, w)."""
    mask = mask[None, None] if mask.ndim == 2 else mask[:, None] if mask.ndim == 3 else mask
    wanted = (images.shape[0], 1, *images.shape[2:])
    if mask.ndim != 4 or mask.shape not in (wanted, (1, *wanted[1:])):
        raise UserError(f"a mask of {tuple(mask.shape)} does not fit images of {tuple(images.shape)}")
    if mask.dtype != torch.bool:
        mask = mask >= (128 if mask.max() > 1 else 0.5)
    mask = mask.to(images.device).expand(wanted)
    for number, one in enumerate(mask):
        if one.any() == one.all():
            raise UserError(f"the mask of image {number} marks {'every' if one.all() else 'no'} pixel")
    return mask
