"""What is exported of a model: a function of named tensors whose batch, and of pictures whose size, is left open."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn.utils import parametrize

from attnorm import __version__
from attnorm.inpainting_pipeline import SMALLEST_SIDE
from attnorm.models.class_conditional import Generator
from attnorm.models.inpainting import LARGEST_PICTURE, InpaintingGenerator
from attnorm.models.saved import find_model, licence_of, task_of

CHECKED_BATCHES = (1, 3)


@dataclass(frozen=True)
class Program:
    """module: in eval mode. inputs: names in the order of its arguments. output: the name of its one result.
    example: arguments to trace with. open_sizes: of each argument, which axes are left open. about: for the file's
    metadata, text by name.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    output: str
    example: tuple[Tensor, ...]
    open_sizes: tuple[dict[int, Any], ...]
    about: dict[str, str]
    shapes: tuple[tuple[int, int], ...]  # (height, width) to check with; of a generator its own, which it ignores

    def arguments(self) -> Iterator[tuple[Tensor, ...]]:
        """Arguments of several batches and sizes, none the example's, to check a file with."""
        for seed, (batch, size) in enumerate((batch, size) for batch in CHECKED_BATCHES for size in self.shapes):
            yield self._draw(batch, size, torch.Generator().manual_seed(seed))

    def _draw(self, batch: int, size: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, ...]:
        if "noise" in self.inputs:
            classes = len(json.loads(self.about["class_names"]))
            noise = torch.randn(batch, int(self.about["latent_dim"]), generator=generator)
            return noise, torch.randint(classes, (batch,), generator=generator)
        picture = torch.rand(batch, 3, *size, generator=generator) * 2 - 1
        mask = torch.zeros(batch, 1, *size)
        mask[:, :, size[0] // 4 : size[0] // 2, size[1] // 3 : size[1] // 2] = 1
        return picture, mask


def program_of(source: str | Path) -> Program:
    """The program of a run, a saved or shipped model, or one of the hub.

    Raises:
        UserError: there is no model at `source`, or it is damaged.
    """
    model = find_model(source)
    if task_of(model) == "inpainting":
        return _inpainter(InpaintingGenerator.from_pretrained(model), licence_of(model))
    return _generator(Generator.from_pretrained(model), licence_of(model))


def _generator(network: Generator, licence: str) -> Program:
    config = network.config
    names = config.class_names or tuple(map(str, range(config.num_classes)))
    batch = Dim("batch")
    about = {
        "latent_dim": str(config.latent_dim),
        "class_names": json.dumps(names),
        "image_size": str(config.image_size),
        "inputs": "noise (batch, latent_dim) float32, standard normal; labels (batch,) int64, indices of class_names",
        "output": "pictures (batch, 3, image_size, image_size) float32 in [-1, 1]",
    }
    return Program(
        module=_without_parametrizations(network),
        inputs=("noise", "labels"),
        output="pictures",
        example=(torch.zeros(2, config.latent_dim), torch.zeros(2, dtype=torch.int64)),
        open_sizes=({0: batch}, {0: batch}),
        about=about | _about("class-conditional", licence),
        shapes=((config.image_size, config.image_size),),
    )


def _inpainter(network: InpaintingGenerator, licence: str) -> Program:
    stride = network.config.stride
    batch, height, width = Dim("batch"), _side("height", stride), _side("width", stride)
    about = {
        "stride": str(stride),
        "smallest_side": str(SMALLEST_SIDE),
        "image_size": str(network.config.image_size),
        "inputs": "picture (batch, 3, height, width) float32 in [-1, 1]; mask (batch, 1, height, width) float32, "
        "1 where pixels are missing and else 0; height and width multiples of stride, at least smallest_side",
        "output": "completed (batch, 3, height, width) float32 in [-1, 1], known pixels as in picture",
    }
    axes = {0: batch, 2: height * stride, 3: width * stride}
    return Program(
        module=_Completed(_without_parametrizations(network)),
        inputs=("picture", "mask"),
        output="completed",
        example=(torch.zeros(2, 3, 64, 96), torch.zeros(2, 1, 64, 96)),
        open_sizes=(axes, axes),
        about=about | _about("inpainting", licence),
        shapes=((72, 48), (128, 136)),
    )


class _Completed(nn.Module):
    """What the second stage finds in the hole, and the picture around it."""

    def __init__(self, network: InpaintingGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask != 0, self.network(picture, mask).refined, picture)


def _side(name: str, stride: int) -> Any:
    return Dim(name, min=SMALLEST_SIDE // stride, max=LARGEST_PICTURE // stride)


def _about(task: str, licence: str) -> dict[str, str]:
    return {"task": task, "licence": licence, "made_with": f"attnorm {__version__}"}


def _without_parametrizations(network: Any) -> Any:
    """A copy whose spectrally normalised weights are the quotients themselves."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for module in network.modules():
        for name in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, name)
    return network
