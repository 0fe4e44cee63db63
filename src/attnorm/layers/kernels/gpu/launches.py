"""Which programs a call launches, and on which blocks; nothing here runs them.

With these sizes of blocks the compiler reports no spilled registers for up to 32 regions, and few above. Nothing here
was timed.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnorm.layers.kernels.problem import Problem, empty_map

SMALLEST_BLOCK = 16  # a side of tl.dot
# A map is split into about this many programs, a few for each multiprocessor of the largest GPU. The number does not
# depend on the GPU, so neither do the results.
PROGRAMS = 1024
# Products on the tensor cores: three TF32 passes keep float32's accuracy. With one, the variance of a region whose mean
# is far from the others' would be lost, also that of bfloat16 features.
PRODUCTS = "tf32x3"


class Blocks(NamedTuple):
    """Channels (at most) and pixels that a program holds in registers, its warps, and the stages of its loops."""

    block_c: int
    block_p: int
    num_warps: int
    num_stages: int


# By program, for at most 32 regions and for more.
BLOCKS = {
    "project": (Blocks(32, 64, 4, 2), Blocks(16, 32, 4, 2)),
    "partial_sums": (Blocks(32, 32, 4, 2), Blocks(16, 32, 4, 2)),
    "apply": (Blocks(32, 64, 4, 3), Blocks(16, 32, 4, 3)),
    "finish_gradients": (Blocks(16, 0, 4, 1), Blocks(16, 0, 4, 1)),
    "apply_gradients": (Blocks(16, 64, 8, 2), Blocks(16, 16, 8, 1)),
}
ALL_CHANNELS = ("project", "apply_gradients")  # programs whose results sum over the channels


class Launch(NamedTuple):
    """A call of a program of `programs`: its name, grid, arguments in order, and constants and options."""

    program: str
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    settings: dict[str, Any]


# Run each launch before asking for the next: sums of splits are added up in between.


def project(x: Tensor, matrix: Tensor) -> tuple[Tensor, Launch]:
    """Empty memory (b, n, p) in float32 for matrix (n, c) or (b, n, c) times x (b, c, p), and the launch."""
    out = empty_map(x, torch.float32, matrix.shape[-2])
    grid = _Grid("project", x, matrix.shape[-2])
    arguments = (_map(x), _map(matrix.expand(x.shape[0], -1, -1)), _map(out), grid.sizes)
    return out, grid.launch(arguments, precision=PRODUCTS)


def forward(p: Problem) -> Iterator[Launch]:
    """Fills `out` and the statistics except the shift."""
    *found, shift = p.statistics
    yield from _sums(p, partial := _partial(p))
    grid, affine = _grid("apply", p), (p.weight, p.bias)
    results = (_map(p.residual), shift, partial.sum(1), affine, tuple(found), _map(p.out))
    arguments = (_map(p.features), _map(p.layout), *results, grid.sizes, p.temperature or 0.0, p.eps)
    yield grid.launch(arguments, **_constants(p))


def backward(p: Problem, terms: Tensor) -> Iterator[Launch]:
    """Fills `d_features`, `d_layout` and terms (b, 2, n, c), each image's share of the gradients of weight and bias."""
    *found, shift = p.statistics
    yield from _sums(p, partial := _partial(p))
    grid, (_, c, n) = _grid("finish_gradients", p), found[1].shape
    coefficients = shift.new_empty(shift.shape[0], 5, c, n)
    finish = (partial.sum(1), (p.weight, p.bias), tuple(found), coefficients, terms, c, n, p.eps)
    yield grid.launch(finish)
    if p.d_features is not None or p.d_layout is not None:
        grid, results = _grid("apply_gradients", p), (coefficients, _map(p.d_features), _map(p.d_layout))
        maps = (_map(p.features), _map(p.layout), _map(p.grad), shift)
        yield grid.launch((*maps, *results, grid.sizes, p.temperature or 0.0), **_constants(p))


def _partial(p: Problem) -> Tensor:
    """Sums of each split, for `partial_sums`."""
    b, c, n = p.statistics.mean.shape
    return p.statistics.mean.new_empty(b, _grid("partial_sums", p).splits, 2 * c + 1, n)


def _sums(p: Problem, partial: Tensor) -> Iterator[Launch]:
    grid, maps = _grid("partial_sums", p), (_map(p.features), _map(p.layout), _map(p.grad))
    arguments = (*maps, p.statistics.shift, partial, grid.sizes, p.temperature or 0.0)
    yield grid.launch(arguments, **_constants(p))


class _Grid:
    """How a call is divided into programs: rows (images, or images and blocks of channels) times splits of pixels.

    The last of `sizes` is the number of pixels in a split.
    """

    def __init__(self, program: str, features: Tensor, regions: int) -> None:
        (batch, channels, pixels), blocks = features.shape, BLOCKS[program][regions > 32]
        block_c = min(blocks.block_c, block(channels))
        self.program = program
        self.rows = batch if program in ALL_CHANNELS else batch * -(-channels // block_c)
        tiles = -(-pixels // (blocks.block_p or pixels))
        per_split = -(-tiles // max(1, PROGRAMS // max(1, self.rows)))
        self.splits = -(-tiles // per_split)
        self.sizes = (channels, regions, pixels, per_split * blocks.block_p)
        self.settings = {**blocks._asdict(), "block_c": block_c, "block_n": block(regions)}

    def launch(self, arguments: tuple[Any, ...], **constants: Any) -> Launch:
        settings = self.settings | constants
        if not constants:  # a program that reads no maps
            del settings["block_p"]
        return Launch(self.program, (self.rows, self.splits), arguments, settings)


def _grid(program: str, p: Problem) -> _Grid:
    return _Grid(program, p.features, p.statistics.mass.shape[1])


def _constants(p: Problem) -> dict[str, Any]:
    precision = "ieee" if p.features.dtype == torch.float64 else PRODUCTS
    return {"softmax": p.temperature is not None, "precision": precision}


def block(size: int) -> int:
    """The smallest power of two that holds a size and that tl.dot takes."""
    return max(SMALLEST_BLOCK, 1 << (size - 1).bit_length())


def _map(flat: Tensor | None) -> tuple[Any, ...] | None:
    return None if flat is None else (flat, *flat.stride())
