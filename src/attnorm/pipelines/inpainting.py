"""Completed images of any size and kind from a trained inpainting model; known pixels stay untouched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.module import register_module_forward_hook

from attnorm.data.compositing import Box, windows_of
from attnorm.data.decode import to_uint8
from attnorm.data.progress import progress
from attnorm.errors import UserError
from attnorm.metrics.layout import record_layouts
from attnorm.models.inpainting import Inpainted, InpaintingGenerator
from attnorm.pipelines.base import OUTPUTS, Output, Pipeline, PipelineOutput, check_choice
from attnorm.pipelines.inputs import read_inputs

Mode = Literal["auto", "native", "crop", "resize"]
Stage = Literal["coarse", "refined"]
SMALLEST_SIDE = 32
NATIVE_SIDE = 512  # "auto" looks at larger images through windows


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


class InpaintingPipeline(Pipeline[InpaintingGenerator]):
    """Completes the missing parts of images::

    pipe = InpaintingPipeline.from_pretrained("runs/photos")
    completed = pipe(image, mask).images[0]
    """

    task = "inpainting"
    network_class = InpaintingGenerator

    def __call__(
        self, image: Any, mask: Any = None, mode: Mode = "auto", *, mask_image: Any = None, output_type: Output = "pil"
    ) -> PipelineOutput:
        """Completes an image or several. Every known pixel comes back exactly as it was given.

        Args:
            image: a file or a PIL image of any mode; an array (h, w), (h, w, 3) or (h, w, 4) or a tensor (c, h, w),
                uint8, or floating point in [0, 1] or, with a negative value, in [-1, 1]; a batch, or a list of these.
            mask: one for all images, or one for each: a file or a PIL image, light where pixels are missing; an array
                or tensor (h, w) or (1, h, w): True, 1, or 128 and more. None for the images' transparent pixels.
            mode: what the network sees: "native", the whole image at its own size; "crop", a window around each missing
                part, at least as large as the training images and twice the part; "resize", the whole image scaled
                down to their size, for a soft completion; "auto", native up to 512 pixels a side, and crop above.
            mask_image: the name of `mask` in diffusers.
            output_type: "pil", upright, and in the image's own mode if possible; or "np", arrays (h, w, c), or "pt",
                tensors (c, h, w), of the type and range of an array or tensor, else float32 in [0, 1].

        Raises:
            UserError: sizes that differ, a mask of nothing or everything, or sides below 32 pixels.
        """
        check_choice("output_type", output_type, OUTPUTS)
        given = read_inputs(image, mask_image if mask is None else mask)
        found = self.complete([one.image.rgb for one in given], [one.mask for one in given], mode)
        images = [one.finish(rgb, output_type) for one, rgb in zip(given, found, strict=True)]
        return PipelineOutput(images, output_type)

    def complete(
        self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], mode: Mode = "auto", stage: Stage = "refined"
    ) -> list[np.ndarray]:
        """Completes images (h, w, 3) uint8, each with its mask (h, w) bool, one after the other."""
        out, plans = [image.copy() for image in images], [self.plan(mask, mode) for mask in masks]
        passes = sum(len(plan.windows) for plan in plans)
        layers = sum(isinstance(module, nn.ELU) for module in self.generator.modules())
        with (
            progress("completing", passes * layers, show=self._show_progress) as advance,
            # Layers are counted and not passes, because one pass of a large image can take minutes.
            register_module_forward_hook(lambda module, *_: advance(isinstance(module, nn.ELU))),  # type: ignore[arg-type]
        ):
            for image, mask, plan in zip(out, masks, plans, strict=True):
                for window, size in zip(plan.windows, plan.sizes, strict=True):
                    part, missing = image[window.slices], mask[window.slices]
                    part[missing] = self._completed(part, missing, size, stage)[missing]
        return out

    def stages(self, images: np.ndarray, masks: np.ndarray) -> Stages:
        """Both stages' images, and the layouts, of images (b, h, w, 3) uint8 with masks (b, h, w), whole."""
        with record_layouts(self.generator) as layouts:
            out = self._network(*_as_tensors(images, masks))
        arrays = {name: layout.float().cpu().numpy() for name, layout in layouts.items()}
        return Stages(to_uint8(out.coarse), to_uint8(out.refined), arrays)

    def plan(self, mask: np.ndarray, mode: Mode = "auto") -> Plan:
        """How an image with this mask (h, w) bool would be completed; UserError if it has sides below 32 pixels."""
        check_choice("mode", mode, get_args(Mode))
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

    def _completed(self, image: np.ndarray, mask: np.ndarray, size: tuple[int, int], stage: Stage) -> np.ndarray:
        """What a stage of the network makes of an image (h, w, 3) uint8 that it sees at `size`."""
        x, missing = _as_tensors(image[None], mask[None])
        if size != mask.shape:
            # Each new pixel is the mean of its cell, and missing if any pixel of the cell is.
            x = functional.adaptive_avg_pool2d(x, size)
            missing = functional.adaptive_max_pool2d(missing.float(), size) > 0
        completed = torch.where(missing, getattr(self._network(x, missing), stage), x)
        if size != mask.shape:
            completed = functional.interpolate(completed, mask.shape, mode="bicubic")
        return to_uint8(completed)[0]

    def _network(self, x: Tensor, mask: Tensor) -> Inpainted:
        """Both stages of the network on images (b, 3, h, w) of any size with masks (b, 1, h, w), on the CPU."""
        height, width = x.shape[2:]
        stride = self.generator.config.stride
        margin = (0, -width % stride, 0, -height % stride)
        x, mask = (functional.pad(t.float(), margin, mode="reflect") for t in (x, mask))
        out = self._run(x.contiguous(memory_format=torch.channels_last), mask)
        return Inpainted(*(images[..., :height, :width].cpu() for images in out))


def _as_tensors(images: np.ndarray, masks: np.ndarray) -> tuple[Tensor, Tensor]:
    """Images (b, h, w, 3) uint8 as (b, 3, h, w) in [-1, 1], and masks (b, h, w) as (b, 1, h, w) bool."""
    x = torch.tensor(images).permute(0, 3, 1, 2) / 127.5 - 1  # a copy: Pillow's arrays cannot be written to
    return x, torch.from_numpy(masks != 0)[:, None]
