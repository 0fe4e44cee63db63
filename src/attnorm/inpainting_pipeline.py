"""A trained inpainting model in, completed pictures out: any size, any kind of picture, known pixels untouched."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, get_args, overload

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from attnorm.data.compositing import EditableImage, check_mask
from attnorm.data.crops import Box, windows_of
from attnorm.data.decode import DecodeError, mask_from_image
from attnorm.errors import UserError
from attnorm.metrics.layout import record_layouts
from attnorm.models.inpainting import InpaintingGenerator
from attnorm.models.pretrained import find_model, task_of
from attnorm.pipelines import check_device
from attnorm.plots import to_uint8

Mode = Literal["auto", "native", "crop", "resize"]
MODES: tuple[str, ...] = get_args(Mode)
Stage = Literal["coarse", "refined"]
SMALLEST_SIDE = 32
NATIVE_SIDE = 512  # "auto" looks at larger pictures through windows

Picture = TypeVar("Picture", Image.Image, Tensor)


class Plan(NamedTuple):
    """How one image will be inpainted: the mode that "auto" chose, the windows, and the most pixels in one pass."""

    mode: str
    windows: list[Box]
    pixels: int


class Stages(NamedTuple):
    """What the network made of whole pictures, each (b, h, w, 3) uint8 and before the known pixels were put back:
    the coarse and the refined picture; layouts by layer name, each (b, n, h', w') float32.
    """

    coarse: np.ndarray
    refined: np.ndarray
    layouts: dict[str, np.ndarray]


class _Job(NamedTuple):
    """One pass through the network: which item and which window of it, and what goes in."""

    item: int
    window: Box
    picture: Tensor  # (3, h, w)
    hole: Tensor  # (1, h, w) bool


class InpaintingPipeline:
    """Completes pictures with holes::

        pipe = InpaintingPipeline.from_pretrained("runs/photos")
        picture = pipe(image, mask)

    A mode says how much of a picture the network sees at once:

    - "native": the whole picture at its own size;
    - "crop": a window around each hole at the picture's own size, at least as large as the training pictures and twice
      as large as the hole, so memory follows the holes and not the picture;
    - "resize": the whole picture scaled down to the training pictures' size; what is found is scaled up, and soft;
    - "auto": native up to 512 pixels a side, and crop above.
    """

    def __init__(self, generator: InpaintingGenerator) -> None:
        self.generator = generator.eval()
        # Half the time and two thirds of the memory of the other layout on a CPU.
        self.generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def from_pretrained(cls, source: str | Path, device: str = "cpu") -> InpaintingPipeline:
        """Loads a run, a saved model's folder, a shipped model by its name, or one of the hub by ORGANISATION/NAME.

        Raises:
            UserError: there is no inpainting model at `source`, it is damaged, or PyTorch cannot use `device`.
        """
        check_device(device)
        model = find_model(source)
        if task_of(model) == "class-conditional":  # whose configuration would otherwise be called damaged
            raise UserError(f"{source} is a class-conditional model: draw from it with `attnorm generate`")
        return cls(InpaintingGenerator.from_pretrained(str(model), map_location=device))

    @overload
    def __call__(self, image: Picture, mask: Image.Image | Tensor, mode: Mode = "auto") -> Picture: ...

    @overload
    def __call__(
        self, image: Sequence[Image.Image], mask: Sequence[Image.Image] | Image.Image, mode: Mode = "auto"
    ) -> list[Image.Image]: ...

    def __call__(
        self,
        image: Image.Image | Sequence[Image.Image] | Tensor,
        mask: Image.Image | Sequence[Image.Image] | Tensor,
        mode: Mode = "auto",
    ) -> Image.Image | list[Image.Image] | Tensor:
        """Completes a picture, several, or a batch, and returns the same kind of thing.

        Args:
            image: a picture, of any mode, or a sequence of pictures; or a tensor (3, h, w) or (b, 3, h, w), uint8, or
                floating point in [-1, 1].
            mask: for pictures, a picture, or one for each: light pixels are missing (see
                `attnorm.data.decode.mask_from_image`).
                For tensors, (h, w), (1, h, w) or (b, 1, h, w): True, 1, or on a scale to 255 at least 128 is missing.
            mode: see the class.

        Returns:
            every known pixel exactly as it was given. A PIL picture comes back upright, in its own mode where a hole
            can be written in it, see `attnorm.data.compositing.EditableImage`.

        Raises:
            UserError: sizes that differ, a mask of nothing or everything, sides below 32 pixels, or too little memory.
        """
        if isinstance(image, Tensor) != isinstance(mask, Tensor):
            raise UserError("give the picture and the mask in one form: both PIL pictures, or both tensors")
        if isinstance(image, Tensor) and isinstance(mask, Tensor):
            return self._complete_tensors(image, mask, mode)
        if isinstance(image, Image.Image) and isinstance(mask, Image.Image):
            return self._complete_pictures([image], [mask], mode)[0]
        if isinstance(image, Sequence) and all(isinstance(one, Image.Image) for one in image):
            masks = [mask] * len(image) if isinstance(mask, Image.Image) else mask
            if not isinstance(masks, Sequence) or len(masks) != len(image):
                raise UserError(f"{len(image)} pictures need one mask, or as many")
            return self._complete_pictures(image, masks, mode)
        raise UserError(f"a picture must be a PIL picture or a tensor, got {type(image).__name__}")

    def fill(
        self,
        pictures: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        mode: Mode = "auto",
        stage: Stage = "refined",
    ) -> list[np.ndarray]:
        """Completes pictures (h, w, 3) uint8, each with its mask (h, w) bool; they may differ in size.

        `stage` is the network's whose output goes into the holes: the second one's, or for comparison the first one's.
        Windows of one size go through the network together, up to as many at once as there are pictures.
        """
        # Copies, because arrays that Pillow or a memory map lends cannot be written to.
        given = [torch.tensor(picture).permute(2, 0, 1) for picture in pictures]
        found = self._complete(given, [torch.tensor(mask) for mask in masks], mode, stage)
        return [picture.permute(1, 2, 0).contiguous().numpy() for picture in found]

    def stages(self, pictures: np.ndarray, masks: np.ndarray) -> Stages:
        """Both stages' pictures, and the layouts, of pictures (b, h, w, 3) uint8 with masks (b, h, w), whole."""
        x = _in_unit_range(torch.tensor(pictures).permute(0, 3, 1, 2))
        with record_layouts(self.generator) as layouts:
            out = self._run(x, torch.from_numpy(masks != 0)[:, None])
        found = {name: layout.cpu().numpy() for name, layout in layouts.items()}
        return Stages(to_uint8(out[0]), to_uint8(out[1]), found)

    def plan(self, mask: np.ndarray, mode: Mode = "auto") -> Plan:
        """How a picture with this mask (h, w) bool would be inpainted.

        Raises:
            UserError: the mode is unknown, or the picture is smaller than 32 pixels.
        """
        if mode not in MODES:
            raise UserError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        size, config = mask.shape, self.generator.config
        if min(size) < SMALLEST_SIDE:
            raise UserError(f"a picture must have at least {SMALLEST_SIDE} pixels a side, got {size[1]}×{size[0]}")
        if mode == "auto":
            mode = "native" if max(size) <= NATIVE_SIDE else "crop"
        if mode == "crop":
            windows = windows_of(mask, config.image_size, config.stride)
        else:
            windows = [Box(0, size[0], 0, size[1])]
        sizes = [self._resized(window.size) if mode == "resize" else window.size for window in windows]
        return Plan(mode, windows, max((height * width for height, width in sizes), default=0))

    def _complete_pictures(
        self, images: Sequence[Image.Image], masks: Sequence[Image.Image], mode: Mode
    ) -> list[Image.Image]:
        try:
            pictures = [EditableImage(ImageOps.exif_transpose(image)) for image in images]
            holes = [
                check_mask(mask_from_image(ImageOps.exif_transpose(mask)), picture.size)
                for mask, picture in zip(masks, pictures, strict=True)
            ]
        except DecodeError as error:
            raise UserError(str(error)) from error
        found = self.fill([picture.rgb for picture in pictures], holes, mode)
        return [picture.composite(rgb, hole) for picture, rgb, hole in zip(pictures, found, holes, strict=True)]

    def _complete_tensors(self, images: Tensor, masks: Tensor, mode: Mode) -> Tensor:
        batch = images if images.ndim == 4 else images[None]
        if batch.ndim != 4 or batch.shape[1] != 3:
            raise UserError(f"a tensor of pictures must be (3, h, w) or (b, 3, h, w), got {tuple(images.shape)}")
        hole = _hole_of(masks, batch)
        if batch.is_floating_point():
            if not batch.masked_fill(hole, 0).abs().max() <= 1:
                raise UserError("a floating-point tensor of pictures must be in [-1, 1]: scale it, or give uint8")
        elif batch.dtype != torch.uint8:
            raise UserError(f"a tensor of pictures must be uint8 or floating point, got {batch.dtype}")
        found = torch.stack(self._complete(list(batch.cpu()), list(hole[:, 0].cpu()), mode)).to(batch.device)
        return found if images.ndim == 4 else found[0]

    @torch.no_grad()
    def _complete(
        self, pictures: Sequence[Tensor], holes: Sequence[Tensor], mode: Mode, stage: Stage = "refined"
    ) -> list[Tensor]:
        """Copies of pictures (3, h, w), uint8 or in [-1, 1], with something found in each hole (h, w) bool."""
        out = [picture.clone() for picture in pictures]
        jobs = self._jobs(pictures, holes, mode)
        output = get_args(Stage).index(stage)
        for _, same in itertools.groupby(jobs, key=lambda job: job.picture.shape):
            while group := list(itertools.islice(same, max(1, len(pictures)))):
                x, hole = torch.stack([job.picture for job in group]), torch.stack([job.hole for job in group])
                found = torch.where(hole, self._run(x, hole)[output], x)
                for job, completed in zip(group, found, strict=True):
                    if completed.shape[1:] != job.window.size:
                        larger = functional.interpolate(completed[None], job.window.size, mode="bicubic")
                        completed = larger[0].clamp(-1, 1)
                    rows, columns = job.window.slices
                    here = out[job.item][:, rows, columns]
                    here.copy_(torch.where(holes[job.item][rows, columns], _as(here.dtype, completed), here))
        return out

    def _jobs(self, pictures: Sequence[Tensor], holes: Sequence[Tensor], mode: Mode) -> Iterator[_Job]:
        for item, (picture, hole) in enumerate(zip(pictures, holes, strict=True)):
            plan = self.plan(hole.numpy(), mode)
            for window in plan.windows:
                rows, columns = window.slices
                missing = hole[None, rows, columns]
                x = _in_unit_range(picture[:, rows, columns]).masked_fill(missing, 0)
                size = self._resized(window.size)
                if plan.mode == "resize" and size != window.size:
                    # Each new pixel is the mean of its cell, and missing if any pixel of it is: nothing of the hole's
                    # content gets into a known one.
                    missing = functional.adaptive_max_pool2d(missing.float(), size) > 0
                    x = functional.adaptive_avg_pool2d(x, size)
                yield _Job(item, window, x, missing)

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size whose longer side is the training pictures', but no side below 32; never a larger one."""
        scale = max(self.generator.config.image_size / max(size), SMALLEST_SIDE / min(size))
        return size if scale >= 1 else (round(size[0] * scale), round(size[1] * scale))

    @torch.no_grad()
    def _run(self, x: Tensor, hole: Tensor) -> tuple[Tensor, Tensor]:
        """Both stages of the network on pictures (b, 3, h, w) of any size with holes (b, 1, h, w), on the CPU."""
        height, width = x.shape[2:]
        stride, device = self.generator.config.stride, next(self.generator.parameters()).device
        margin = (0, -width % stride, 0, -height % stride)
        x, missing = (functional.pad(t.float(), margin, mode="reflect").to(device) for t in (x, hole))
        try:
            out = self.generator(x.contiguous(memory_format=torch.channels_last), missing)
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
                raise
            raise UserError(
                f"{len(x)} image(s) of {width}×{height} do not fit into memory: choose the mode crop or resize"
            ) from error
        return out.coarse[..., :height, :width].cpu(), out.refined[..., :height, :width].cpu()


def _in_unit_range(picture: Tensor) -> Tensor:
    """uint8 or floating-point values as float32 in [-1, 1]."""
    return picture.float() / 127.5 - 1 if picture.dtype == torch.uint8 else picture.float()


def _as(dtype: torch.dtype, picture: Tensor) -> Tensor:
    """float32 values in [-1, 1] as uint8 or floating-point ones."""
    return ((picture + 1) * 127.5).round().to(dtype) if dtype == torch.uint8 else picture.to(dtype)


def _hole_of(mask: Tensor, pictures: Tensor) -> Tensor:
    """A mask tensor as (b, 1, h, w) bool for pictures (b, 3, h, w)."""
    hole = mask[None, None] if mask.ndim == 2 else mask[:, None] if mask.ndim == 3 else mask
    wanted = (pictures.shape[0], 1, *pictures.shape[2:])
    if hole.ndim != 4 or hole.shape not in (wanted, (1, *wanted[1:])):
        raise UserError(f"a mask of {tuple(mask.shape)} does not fit pictures of {tuple(pictures.shape)}")
    if hole.dtype != torch.bool:
        hole = hole >= (128 if hole.max() > 1 else 0.5)
    hole = hole.to(pictures.device).expand(wanted)
    for number, one in enumerate(hole):
        if one.any() == one.all():
            what = "every pixel: there is nothing known to go by" if one.all() else "no pixel"
            raise UserError(f"the mask of picture {number} marks {what}")
    return hole
