"""Which programs a call launches, on which blocks; nothing here runs anything.

The sizes of blocks are those that the compiler reports free of spills for up to 32 regions, and nearly so above.
Nothing here was timed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnorm.layers.kernels.problem import Problem

SMALLEST_BLOCK = 16  # a side of tl.dot
BLOCK_SPLITS = 32  # rows that the programs which add up splits read at a time
# A map is cut until about this many programs run: a few for each multiprocessor of the largest GPU. It does not depend
# on the GPU, so neither do the results.
PROGRAMS = 1024


class Blocks(NamedTuple):
    """What a program holds in registers at a time (block_c at most), with how many warps, and its loops' stages."""

    block_c: int
    block_p: int
    num_warps: int
    num_stages: int


# By program, for at most 32 regions and for more.
BLOCKS = {
    "apply": (Blocks(32, 64, 4, 3), Blocks(16, 32, 4, 3)),
    "partial_sums": (Blocks(32, 32, 4, 2), Blocks(16, 32, 4, 2)),
    "apply_gradients": (Blocks(16, 64, 8, 1), Blocks(16, 16, 8, 1)),
}


class Launch(NamedTuple):
    """One program of `programs`: by name, with its grid, its arguments in order, and its constants and options."""

    program: str
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    settings: dict[str, Any]


def forward(p: Problem) -> list[Launch]:
    """Fills `out` and the statistics but for the shift."""
    v, s, found, plan = p.features, p.layout, p.statistics, _Plan(p)
    sums, apply = plan.grid("partial_sums"), plan.grid("apply")
    batch, channels, regions, _ = plan.sizes
    partial = found.mean.new_empty(batch, sums.splits, 2, channels, regions)
    masses = found.mean.new_empty(batch, sums.splits, regions)
    gain, offset = torch.empty_like(found.mean), torch.empty_like(found.mean)
    sizes, maps = plan.sizes[1:], (*_strides(v), *_strides(s))
    inputs = (v, s, None, found.shift, partial, masses, plan.temperature, *sizes, sums.span, *maps, *_strides(None))
    finish = (partial, masses, p.weight, p.bias, *found[:-1], gain, offset, p.eps, channels, regions, sums.splits)
    results = (v, s, p.residual, found.shift, gain, offset, p.out, plan.temperature, *sizes, apply.span)
    return [
        sums.launch("partial_sums", inputs),
        Launch("finish_moments", (batch * channels,), finish, plan.finish_settings),
        apply.launch("apply", (*results, *maps, *_strides(p.residual), *_strides(p.out))),
    ]


def backward(p: Problem, terms: Tensor) -> list[Launch]:
    """Fills `d_features`, `d_layout` and terms (b, 2, n, c): what images add to the gradients of weight and bias."""
    v, s, found, plan = p.features, p.layout, p.statistics, _Plan(p)
    sums, apply = plan.grid("partial_sums"), plan.grid("apply_gradients")
    batch, channels, regions, _ = plan.sizes
    partial = found.mean.new_empty(batch, sums.splits, 2, channels, regions)
    coefficients = found.mean.new_empty(batch, 5, channels, regions)
    sizes, maps = plan.sizes[1:], (*_strides(v), *_strides(s), *_strides(p.grad))
    finish = (partial, p.weight, p.bias, *found[:-1], coefficients, terms, p.eps, channels, regions, sums.splits)
    maps_in = (v, s, p.grad, found.shift)
    launches = [
        sums.launch("partial_sums", (*maps_in, partial, None, plan.temperature, *sizes, sums.span, *maps)),
        Launch("finish_gradients", (batch * channels,), finish, plan.finish_settings),
    ]
    if p.d_features is not None or p.d_layout is not None:
        results = (*maps_in, coefficients, p.d_features, p.d_layout, plan.temperature, *sizes, apply.span)
        strides = (*maps, *_strides(p.d_features), *_strides(p.d_layout))
        launches.append(apply.launch("apply_gradients", (*results, *strides)))
    return launches


class _Grid(NamedTuple):
    """Rows (of images and blocks of channels) times splits; a split has `span` pixels, the last one fewer."""

    rows: int
    splits: int
    span: int
    settings: dict[str, Any]

    def launch(self, program: str, arguments: tuple[Any, ...]) -> Launch:
        return Launch(program, (self.rows, self.splits), arguments, self.settings)


class _Plan:
    """How a call is cut into programs, and what they are compiled for."""

    def __init__(self, p: Problem) -> None:
        import triton.language as tl

        (batch, channels, pixels), regions = p.features.shape, p.statistics.mass.shape[1]
        self.sizes = (batch, channels, regions, pixels)
        self.temperature = p.temperature or 0.0
        double = p.statistics.mass.dtype == torch.float64
        common = {"compute": tl.float64 if double else tl.float32, "block_n": _block(regions)}
        self._settings = common | {
            "softmax": p.temperature is not None,
            "precision": "ieee" if double else "tf32x3",
        }
        self.finish_settings = common | {"block_s": BLOCK_SPLITS}

    def grid(self, program: str) -> _Grid:
        batch, channels, regions, pixels = self.sizes
        blocks = BLOCKS[program][regions > 32]
        blocks = blocks._replace(block_c=min(blocks.block_c, _block(channels)))
        # The gradient of the layout sums over channels: there a program takes them all.
        rows = batch if program == "apply_gradients" else batch * -(-channels // blocks.block_c)
        tiles = -(-pixels // blocks.block_p)
        per_split = -(-tiles // max(1, PROGRAMS // rows))
        settings = self._settings | blocks._asdict()
        return _Grid(rows, -(-tiles // per_split), per_split * blocks.block_p, settings)


def _block(size: int) -> int:
    """The power of two that holds a size, as tl.dot wants it."""
    return max(SMALLEST_BLOCK, 1 << (size - 1).bit_length())


def _strides(flat: Tensor | None) -> tuple[int, ...]:
    return (0, 0, 0) if flat is None else flat.stride()
