"""The process that `inpaint.Child` starts: `python -m attnorm.benchmarks.inpaint_child '{"kind": …}'`."""

from __future__ import annotations

import json
import sys
from functools import partial

import numpy as np
import torch

from attnorm.benchmarks.measuring import peak_memory
from attnorm.data.crops import Box
from attnorm.inpainting_pipeline import SMALLEST_SIDE, InpaintingPipeline
from attnorm.models.inpainting import BranchConfig, InpaintingGenerator, InpaintingGeneratorConfig

HOLE = 4  # a hole's side is this share of the picture's


def make_pipeline(kind: str, width: int) -> InpaintingPipeline:
    torch.manual_seed(0)
    branch = BranchConfig(kind=kind)  # type: ignore[arg-type]
    return InpaintingPipeline(InpaintingGenerator(InpaintingGeneratorConfig(width=width, branch=branch)))


def bytes_needed(kind: str, size: int, mode: str, width: int) -> int:
    """What the pipeline foresees for a picture of this size, without its weights."""
    with torch.device("meta"):
        return make_pipeline(kind, width).plan(_hole(size), mode).memory  # type: ignore[arg-type]


def _hole(size: int) -> np.ndarray:
    """A square in the middle."""
    hole = np.zeros((size, size), dtype=bool)
    first, side = (size - size // HOLE) // 2, size // HOLE
    rows, columns = Box(first, first + side, first, first + side).slices
    hole[rows, columns] = True
    return hole


def main(order: str) -> None:
    """Writes the memory that the first picture took, in megabytes, and then a line for every line that it reads."""
    settings = json.loads(order)
    torch.set_num_threads(settings["threads"])
    pipeline = make_pipeline(settings["kind"], settings["width"])
    pipeline.fill([_noise(SMALLEST_SIDE)], [_hole(SMALLEST_SIDE)], "native")  # libraries are loaded, kernels made
    size = settings["size"]
    call = partial(pipeline.fill, [_noise(size)], [_hole(size)], settings["mode"])
    print(json.dumps(peak_memory(call, torch.device("cpu"))), flush=True)
    for _ in sys.stdin:
        call()
        print(json.dumps(None), flush=True)


def _noise(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)


if __name__ == "__main__":
    main(sys.argv[1])
