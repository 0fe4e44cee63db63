"""Completed images of any size and kind from a trained inpainting model; known pixels stay untouched."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from attnorm.data.compositing import Box, windows_of
from attnorm.data.decode import to_uint8
from attnorm.data.progress import progress
from attnorm.errors import UserError
from attnorm.metrics.layout import record_layouts
from attnorm.models.inpainting import InpaintingGenerator
from attnorm.pipelines.base import Output, Pipeline, PipelineOutput, check_output_type
from attnorm.pipelines.inputs import read_inputs

Mode = Literal["auto", "native", "crop", "resize"]
MODES: tuple[str, ...] = get_args(Mode)
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

    A mode says how much of an image the network sees at once:

    - "native": the whole image at its own size;
    - "crop": a window around each missing part, at least as large as the training images and twice the part;
    - "resize": the whole image scaled down to the training images' size; the completion is scaled up, and soft;
    - "auto": native up to 512 pixels a side, and crop above.
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
            mode: see the class.
            mask_image: the name of `mask` in diffusers.
            output_type: "pil", upright, and in the image's own mode if possible; or "np", arrays (h, w, c), or "pt",
                tensors (c, h, w), of the type and range of an array or tensor, else float32 in [0, 1].

        Raises:
            UserError: sizes that differ, a mask of nothing or everything, sides below 32 pixels, or too little memory.
        """
        check_output_type(output_type)
        given = read_inputs(image, mask_image if mask is None else mask)
        masks = [one.mask for one in given]
        with self.progress(masks, mode):
            found = self.complete([one.image.rgb for one in given], masks, mode)
        images = [one.finish(rgb, output_type) for one, rgb in zip(given, found, strict=True)]
        return PipelineOutput(images, output_type)

    @torch.no_grad()
    def complete(
        self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], mode: Mode = "auto", stage: Stage = "refined"
    ) -> list[np.ndarray]:
        """Completes images (h, w, 3) uint8, each with its mask (h, w) bool; they may differ in size.

        Windows of one size go through the network together, up to as many at once as there are images.
        """
        out = [image.copy() for image in images]
        output = get_args(Stage).index(stage)
        for _, same in itertools.groupby(self._windows(images, masks, mode), key=lambda each: each[2].shape):
            while group := list(itertools.islice(same, max(1, len(images)))):
                x, mask = torch.stack([each[2] for each in group]), torch.stack([each[3] for each in group])
                found = torch.where(mask, self._run(x, mask)[output], x)
                for (item, window, *_), completed in zip(group, found[:, None], strict=True):
                    if completed.shape[2:] != window.size:
                        completed = functional.interpolate(completed, window.size, mode="bicubic")
                    missing = masks[item][window.slices]
                    out[item][window.slices][missing] = to_uint8(completed)[0][missing]
        return out

    @contextmanager
    def progress(self, masks: Sequence[np.ndarray], mode: Mode = "auto") -> Iterator[None]:
        """Inside, completing images with these masks draws a progress bar.

        It counts convolutions, which take about the same time each: one pass of a large image can take minutes.
        """
        passes = sum(len(self.plan(mask, mode).windows) for mask in masks)
        # The fused operator takes no hooks on the convolutions inside the layer.
        named = self.generator.named_modules()
        convolutions = [conv for name, conv in named if isinstance(conv, nn.Conv2d) and ".norm." not in name]
        total = passes * len(convolutions)
        with progress("completing", total, show=self._show_progress) as advance, ExitStack() as hooks:
            for conv in convolutions:
                hooks.callback(conv.register_forward_hook(lambda _, __, out: advance(len(out))).remove)
            yield

    def stages(self, images: np.ndarray, masks: np.ndarray) -> Stages:
        """Both stages' images, and the layouts, of images (b, h, w, 3) uint8 with masks (b, h, w), whole."""
        x = _in_unit_range(images)
        with record_layouts(self.generator) as layouts:
            out = self._run(x, torch.from_numpy(masks != 0)[:, None])
        arrays = {name: layout.float().cpu().numpy() for name, layout in layouts.items()}
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

    def _windows(
        self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray], mode: Mode
    ) -> Iterator[tuple[int, Box, Tensor, Tensor]]:
        """The number of an image, a window of it, and the network's input: (3, h, w) in [-1, 1], and (1, h, w) bool."""
        for item, (image, mask) in enumerate(zip(images, masks, strict=True)):
            plan = self.plan(mask, mode)
            for window, size in zip(plan.windows, plan.sizes, strict=True):
                missing = torch.tensor(mask[window.slices])[None]
                x = _in_unit_range(image[window.slices][None])[0].masked_fill(missing, 0)
                if size != window.size:
                    # Each new pixel is the mean of its cell, and missing if any pixel of the cell is.
                    missing = functional.adaptive_max_pool2d(missing.float(), size) > 0
                    x = functional.adaptive_avg_pool2d(x, size)
                yield item, window, x, missing

    def _run(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Both stages of the network on images (b, 3, h, w) of any size with masks (b, 1, h, w), on the CPU."""
        height, width = x.shape[2:]
        stride = self.generator.config.stride
        margin = (0, -width % stride, 0, -height % stride)
        x, missing = (functional.pad(t.float(), margin, mode="reflect").to(self.device) for t in (x, mask))
        try:
            with self._computing():
                out = self.generator(x.contiguous(memory_format=torch.channels_last), missing)
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
                raise
            raise UserError(
                f"{len(x)} image(s) of {width}×{height} do not fit into memory: choose the mode crop or resize"
            ) from error
        return out.coarse[..., :height, :width].cpu(), out.refined[..., :height, :width].cpu()


def _in_unit_range(images: np.ndarray) -> Tensor:
    """Images (b, h, w, 3) uint8 as (b, 3, h, w) in [-1, 1]."""
    return torch.tensor(images).permute(0, 3, 1, 2) / 127.5 - 1  # a copy: Pillow's arrays cannot be written to
