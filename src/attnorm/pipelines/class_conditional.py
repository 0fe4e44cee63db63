"""Generation of images by class, and interpolation between classes."""

from collections.abc import Sequence
from textwrap import shorten
from typing import NamedTuple, get_args

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
from attnorm.models.class_conditional import Generator, truncated
from attnorm.pipelines.base import Output, Pipeline, PipelineOutput, check_choice

BATCH = 32
Label = str | int
Labels = Label | Sequence[Label] | np.ndarray | Tensor | None
Generators = torch.Generator | Sequence[torch.Generator] | None


class Generated(NamedTuple):
    """images (b, h, w, 3) uint8; labels, one index an image; layouts by layer name, each (b, n, h', w') float32. An
    interpolation has (rows, frames) for b, and the indices of its two labels.
    """

    images: np.ndarray
    labels: list[int]
    layouts: dict[str, np.ndarray]


class ClassConditionalPipeline(Pipeline[Generator]):
    """Generates images of given classes::

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
        """Generates images. Raises a UserError for an unknown label or a number out of range.

        Args:
            labels: a class name or index, or several, used in turn; None for all classes.
            num_images: images in all; None for one of each label.
            seed: the same seed and labels give the same images.
            truncation: where the noise's normal distribution is cut off on both sides; less gives more typical and
                less varied images. None for the whole distribution, as in training.
            generator: draws the noise instead of `seed`; one, or one for each image.
            output_type: "pil"; or "np", an array (b, h, w, 3), or "pt", a tensor (b, 3, h, w), float32 in [0, 1].
        """
        check_choice("output_type", output_type, get_args(Output))
        indices, z = self._inputs(labels, num_images, seed, truncation, generator)
        images, _ = self._generate(z, torch.tensor(indices), show=self._show_progress)
        found = list(map(Image.fromarray, images)) if output_type == "pil" else np.float32(images) / 255
        return PipelineOutput(found, output_type)

    def draw(
        self, labels: Labels = None, num_images: int | None = None, seed: int = 0, truncation: float | None = None
    ) -> Generated:
        """As calling, but returns uint8 arrays and the layouts."""
        indices, z = self._inputs(labels, num_images, seed, truncation)
        images, layouts = self._generate(z, torch.tensor(indices))
        return Generated(images, indices, layouts)

    def interpolate(self, first: Label, second: Label, frames: int = 8, rows: int = 4, seed: int = 0) -> Generated:
        """Interpolates between two classes at fixed noise (paper, Fig. 8).

        Gains and biases of the conditional batch norms are mixed linearly; both ends are the images of `draw`.

        Args:
            first, second: class names or indices.
            frames: images of a row, including those of the two labels.
            rows: how many noises.
        """
        labels = self.indices([first, second])
        start, end = functional.one_hot(torch.tensor(labels), len(self.class_names)).float()
        share = torch.from_numpy(np.linspace(0, 1, frames)).float()[:, None]  # of the second label
        _, z = self._inputs([first], rows, seed, None)
        mixtures = torch.lerp(start, end, share).repeat(rows, 1)  # (rows * frames, classes)
        images, layouts = self._generate(z.repeat_interleave(frames, dim=0), mixtures)
        by_row = {name: layout.reshape(rows, frames, *layout.shape[1:]) for name, layout in layouts.items()}
        return Generated(images.reshape(rows, frames, *images.shape[1:]), labels, by_row)

    def indices(self, labels: Labels) -> list[int]:
        """The class indices of names or indices. A string that is both means the class of that name."""
        count = len(self.class_names)
        wanted = range(count) if labels is None else np.atleast_1d(np.asarray(labels, dtype=object)).tolist()
        known = {str(number): number for number in range(count)} | {name: i for i, name in enumerate(self.class_names)}
        found = [known.get(each, -1) if isinstance(each, str) else whole_number("a label", each) for each in wanted]
        for label, index in zip(wanted, found, strict=True):
            if not 0 <= index < count:
                names = shorten(", ".join(self.class_names), 100, placeholder=" …")
                hint = nearest(str(label), self.class_names)
                raise UserError(f"there is no class {label!r}{hint} (the model knows {names})")
        return found

    def _inputs(
        self, labels: Labels, num_images: int | None, seed: int, truncation: float | None, generator: Generators = None
    ) -> tuple[list[int], Tensor]:
        """The label and noise of each image. Noise is drawn on the CPU, so device and batch size do not change it."""
        indices = self.indices(labels)
        count = len(indices) if num_images is None else whole_number("num_images", num_images)
        if count < 1:
            raise UserError(f"labels and num_images must be at least one, got {len(indices)} and {count}")
        if generator is None:
            generator = torch.Generator().manual_seed(whole_number("seed", seed) % (1 << 63))
        several = list(generator) if isinstance(generator, Sequence) else [generator]
        if not all(isinstance(one, torch.Generator) for one in several) or len(several) not in (1, count):
            raise UserError(f"generator must be a torch.Generator, or a list of one for each of {count} images")
        size = (count // len(several), self.generator.config.latent_dim)
        z = torch.cat([torch.randn(size, generator=one, device=one.device).cpu() for one in several])
        return [indices[i % len(indices)] for i in range(count)], z if truncation is None else truncated(z, truncation)

    def _generate(self, z: Tensor, classes: Tensor, show: bool = False) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Images (b, h, w, 3) uint8, and layouts by layer name."""
        batches, images, layouts = list(zip(z.split(BATCH), classes.split(BATCH), strict=True)), [], []
        for inputs in track(batches, "generating", len(batches), show=show and len(batches) > 1):
            with record_layouts(self.generator) as recorded:
                images.append(to_uint8(self._run(*inputs)))
            layouts.append({name: layout.float().cpu().numpy() for name, layout in recorded.items()})
        return np.concatenate(images), {name: np.concatenate([part[name] for part in layouts]) for name in layouts[0]}
