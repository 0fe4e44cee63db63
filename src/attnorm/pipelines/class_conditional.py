"""Images of given classes, and interpolations between classes, from a trained generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from attnorm.config import nearest, whole_number
from attnorm.data.decode import to_uint8
from attnorm.data.progress import track
from attnorm.errors import UserError
from attnorm.metrics.layout import record_layouts
from attnorm.models.class_conditional import Generator
from attnorm.pipelines.base import Output, Pipeline, PipelineOutput, check_output_type

BATCH = 32
Labels = str | int | Sequence[str | int] | np.ndarray | Tensor | None
Generators = torch.Generator | Sequence[torch.Generator] | None


class Generated(NamedTuple):
    """images (b, h, w, 3) uint8; labels, one index an image; layouts by layer name, each (b, n, h', w') float32.

    An interpolation has (rows, frames) for b, and the indices of its two labels.
    """

    images: np.ndarray
    labels: list[int]
    layouts: dict[str, np.ndarray]


class ClassConditionalPipeline(Pipeline[Generator]):
    """Draws images of given classes::

        pipe = ClassConditionalPipeline.from_pretrained("runs/digits")
        images = pipe(labels=["3", 7], num_images=8, seed=0).images

    The same labels and seed give the same images.
    """

    task = "class-conditional"
    network_class = Generator

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator)
        self.class_names = generator.config.class_names or tuple(map(str, range(generator.config.num_classes)))

    def __call__(
        self,
        labels: Labels = None,
        num_images: int | None = None,
        seed: int = 0,
        truncation: float | None = None,
        *,
        generator: Generators = None,
        output_type: Output = "pil",
    ) -> PipelineOutput:
        """Draws images.

        Args:
            labels: a class name or index, or several, used in turn; None for all classes.
            num_images: images in all; None for one of each label.
            seed: the same seed and labels give the same images.
            truncation: where the noise's normal distribution is cut off on both sides; less gives more typical and
                less varied images. None for the whole distribution, as in training.
            generator: draws the noise instead of `seed`; one, or one for each image.
            output_type: "pil"; or "np", an array (b, h, w, 3), or "pt", a tensor (b, 3, h, w), float32 in [0, 1].

        Raises:
            UserError: an unknown label, or a number out of range.
        """
        check_output_type(output_type)
        indices, z = self._inputs(labels, num_images, seed, truncation, generator)
        images, _ = self._generate(z, torch.tensor(indices), show_progress=True)
        if output_type == "pil":
            return PipelineOutput(list(map(Image.fromarray, images)), output_type)
        return PipelineOutput(np.float32(images) / 255, output_type)

    def draw(
        self,
        labels: Labels = None,
        num_images: int | None = None,
        seed: int = 0,
        with_layouts: bool = False,
        truncation: float | None = None,
    ) -> Generated:
        """As calling, but returns uint8 arrays, and the layouts on request."""
        indices, z = self._inputs(labels, num_images, seed, truncation)
        images, layouts = self._generate(z, torch.tensor(indices), with_layouts)
        return Generated(images, indices, layouts)

    def stream(
        self, labels: Labels = None, num_images: int | None = None, seed: int = 0, truncation: float | None = None
    ) -> Iterator[tuple[np.ndarray, int]]:
        """The images of `draw` one after the other, (h, w, 3) uint8 with its label, in the memory of one batch."""
        indices, z = self._inputs(labels, num_images, seed, truncation)
        batches = self._batches(z, torch.tensor(indices), show_progress=True)
        return zip((image for batch, _ in batches for image in batch), indices, strict=True)

    def interpolate(
        self,
        first: str | int,
        second: str | int,
        frames: int = 8,
        rows: int = 4,
        seed: int = 0,
        with_layouts: bool = False,
    ) -> Generated:
        """Goes from one class to another with the noise held fixed (paper, Fig. 8).

        Gains and biases of the conditional batch norms are mixed linearly; both ends are the images of `draw`.

        Args:
            first, second: class names or indices.
            frames: images of a row, including those of the two labels.
            rows: how many noises.

        Raises:
            UserError: an unknown label, or a number out of range.
        """
        frames, rows = whole_number("frames", frames), whole_number("rows", rows)
        if frames < 2 or rows < 1:
            raise UserError(f"an interpolation needs at least 2 frames and 1 row, got {frames} and {rows}")
        labels = [self._index(first), self._index(second)]
        share = torch.from_numpy(np.linspace(0, 1, frames)).float()[:, None]  # of the second label
        start, end = functional.one_hot(torch.tensor(labels), len(self.class_names)).float()
        mixtures = (1 - share) * start + share * end  # (frames, classes)
        z = self._noise(rows, seed).repeat_interleave(frames, dim=0)
        images, layouts = self._generate(z, mixtures.repeat(rows, 1), with_layouts)
        by_row = {name: layout.reshape(rows, frames, *layout.shape[1:]) for name, layout in layouts.items()}
        return Generated(images.reshape(rows, frames, *images.shape[1:]), labels, by_row)

    def indices(self, labels: Labels) -> list[int]:
        """Class indices of names or indices; a name that is also an index means the class of that name."""
        if labels is None:
            return list(range(len(self.class_names)))
        given: Any = labels.tolist() if isinstance(labels, (Tensor, np.ndarray)) else labels
        wanted = list(given) if isinstance(given, (list, tuple, range)) else [given]
        if not wanted:
            raise UserError("labels must name at least one class, got none")
        return [self._index(label) for label in wanted]

    def _inputs(
        self, labels: Labels, num_images: int | None, seed: int, truncation: float | None, generator: Generators = None
    ) -> tuple[list[int], Tensor]:
        """The label of each image, and its noise."""
        indices = self.indices(labels)
        count = len(indices) if num_images is None else whole_number("num_images", num_images)
        if count < 1:
            raise UserError(f"num_images must be at least 1, got {count}")
        return [indices[i % len(indices)] for i in range(count)], self._noise(count, seed, truncation, generator)

    def _index(self, label: str | int) -> int:
        if label in self.class_names:
            return self.class_names.index(str(label))
        if isinstance(label, str) and not label.removeprefix("-").isdecimal():
            known = shorten(", ".join(self.class_names), 100, placeholder=" …")
            raise UserError(f"there is no class {label!r}{nearest(label, self.class_names)} (the model knows {known})")
        index = int(label) if isinstance(label, str) else whole_number("a label", label)
        if not 0 <= index < len(self.class_names):
            raise UserError(f"there is no class {index}: the model's classes are 0 to {len(self.class_names) - 1}")
        return index

    def _noise(self, count: int, seed: int, truncation: float | None = None, generator: Generators = None) -> Tensor:
        """Drawn on the CPU in one piece, so that device and batch size do not change the images."""
        if generator is None:
            if not 0 <= whole_number("seed", seed) < 1 << 63:
                raise UserError(f"seed must be from 0 to 2^63 - 1, got {seed}")
            generator = torch.Generator().manual_seed(int(seed))
        several = list(generator) if isinstance(generator, Sequence) else [generator]
        if not all(isinstance(one, torch.Generator) for one in several) or len(several) not in (1, count):
            raise UserError(f"generator must be a torch.Generator, or a list of one for each of {count} images")
        size = (count // len(several), self.generator.config.latent_dim)
        z = torch.cat([torch.randn(size, generator=one, device=one.device).cpu() for one in several])
        return z if truncation is None else truncated(z, truncation)

    def _generate(
        self, z: Tensor, labels: Tensor, with_layouts: bool = False, show_progress: bool = False
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        images, layouts = zip(*self._batches(z, labels, with_layouts, show_progress), strict=True)
        return np.concatenate(images), {name: np.concatenate([part[name] for part in layouts]) for name in layouts[0]}

    def _batches(
        self, z: Tensor, labels: Tensor, with_layouts: bool = False, show_progress: bool = False
    ) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Images (b, h, w, 3) uint8 and, on request, layouts by layer name."""
        batches = list(zip(z.split(BATCH), labels.split(BATCH), strict=True))
        show = show_progress and self._show_progress and len(batches) > 1
        for noise, classes in track(batches, "generating", len(batches), show=show):
            recording = record_layouts(self.generator) if with_layouts else nullcontext(dict[str, Tensor]())
            with recording as layouts, self._computing():
                images = self.generator(noise.to(self.device), classes.to(self.device))
            yield to_uint8(images), {name: layout.float().cpu().numpy() for name, layout in layouts.items()}


def truncated(z: Tensor, limit: float) -> Tensor:
    """Normal noise as noise of the normal distribution cut off at `limit` on both sides (BigGAN's truncation trick).

    Values are mapped by their rank and not drawn again, so that an image changes gradually with `limit`.
    """
    if not limit > 0:
        raise UserError(f"truncation must be positive, got {limit:g}")
    exact = z.double()
    outside = torch.special.ndtr(exact.new_tensor(-limit))  # the share below -limit, and as much above
    below = outside + torch.special.ndtr(-exact.abs()) * (1 - 2 * outside)  # of the lower half, where it is exact
    return (-exact.sign() * torch.special.ndtri(below)).clamp(-limit, limit).to(z.dtype)
