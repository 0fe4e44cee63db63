"""Which programs a call launches, on which blocks; nothing here runs anything.

The sizes of blocks are those that the compiler's reports show free of spills for up to 32 regions, and nearly so above
: nothing here was timed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

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
    "partial_moments": (Blocks(32, 32, 4, 2), Blocks(16, 32, 4, 2)),
    "apply": (Blocks(32, 64, 4, 3), Blocks(16, 32, 4, 3)),
    "partial_gradients": (Blocks(32, 32, 4, 2), Blocks(16, 32, 4, 2)),
    "apply_gradients": (Blocks(16, 64, 8, 1), Blocks(16, 16, 8, 1)),
}


class Launch(NamedTuple):
    """One program of `programs`: by name, with its grid, its arguments in order, and its constants and options."""

    program: str
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    settings: dict[str, Any]


class Statistics(NamedTuple):
    """What the forward pass leaves for the backward pass: mass (b, n), mean less shift and variance (b, c, n), shift
    (b, c).
    """

    mass: Tensor
    mean: Tensor
    variance: Tensor
    shift: Tensor


class Options(NamedTuple):
    """temperature is None where s is the layout itself, not logits."""

    temperature: float | None
    eps: float


class Gradients(NamedTuple):
    """Where gradients go: those of v and s, or None; coefficients (b, 5, c, n) and parameter_terms (b, 2, n, c)."""

    v: Tensor | None
    s: Tensor | None
    coefficients: Tensor
    parameter_terms: Tensor


def forward(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    options: Options,
    out: Tensor,
    found: Statistics,
) -> list[Launch]:
    """Fills `out` and `found`."""
    plan = _Plan(v, s, options)
    sums, apply = plan.grid("partial_moments"), plan.grid("apply")
    batch, channels, regions, _ = plan.sizes
    shifts = found.mean.new_empty(batch, sums.splits, channels)
    region_sums = found.mean.new_empty(batch, sums.splits, regions)
    channel_sums = found.mean.new_empty(batch, sums.splits, 2, channels, regions)
    gain, offset = torch.empty_like(found.mean), torch.empty_like(found.mean)
    sizes, maps, added = plan.sizes[1:], (*v.stride(), *s.stride()), (*_strides(residual), *out.stride())
    partial = (shifts, region_sums, channel_sums)
    spread = (found.shift, gain, offset)
    finish = (weight, bias, *found, gain, offset, options.eps, channels, regions, sums.splits)
    return [
        Launch(
            "partial_moments",
            (sums.rows, sums.splits),
            (v, s, *partial, plan.temperature, *sizes, sums.span, *maps),
            sums.settings,
        ),
        Launch(
            "finish_moments",
            (batch * channels,),
            (*partial, *finish),
            plan.finish_settings,
        ),
        Launch(
            "apply",
            (apply.rows, apply.splits),
            (v, s, residual, *spread, out, plan.temperature, *sizes, apply.span, *maps, *added),
            apply.settings,
        ),
    ]


def backward(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    grad: Tensor,
    options: Options,
    found: Statistics,
    into: Gradients,
) -> list[Launch]:
    """Fills `into`."""
    plan = _Plan(v, s, options)
    sums, apply = plan.grid("partial_gradients"), plan.grid("apply_gradients")
    batch, channels, regions, _ = plan.sizes
    partial = found.mean.new_empty(batch, sums.splits, 2, channels, regions)
    sizes, maps = plan.sizes[1:], (*v.stride(), *s.stride(), *grad.stride())
    finish = (
        weight,
        bias,
        *found[:-1],
        into.coefficients,
        into.parameter_terms,
        options.eps,
        channels,
        regions,
        sums.splits,
    )
    launches = [
        Launch(
            "partial_gradients",
            (sums.rows, sums.splits),
            (v, s, grad, found.shift, partial, plan.temperature, *sizes, sums.span, *maps),
            sums.settings,
        ),
        Launch(
            "finish_gradients",
            (batch * channels,),
            (partial, *finish),
            plan.finish_settings,
        ),
    ]
    if into.v is not None or into.s is not None:
        arguments = (v, s, grad, found.shift, into.coefficients, into.v, into.s, plan.temperature, *sizes, apply.span)
        strides = (*maps, *_strides(into.v), *_strides(into.s))
        launches.append(Launch("apply_gradients", (apply.rows, apply.splits), (*arguments, *strides), apply.settings))
    return launches


class _Grid(NamedTuple):
    """Rows (of images and blocks of channels) times splits; a split has `span` pixels, the last one fewer."""

    rows: int
    splits: int
    span: int
    settings: dict[str, Any]


class _Plan:
    """How a call is cut into programs, and what they are compiled for."""

    def __init__(self, v: Tensor, s: Tensor, options: Options) -> None:
        import triton.language as tl

        batch, channels, pixels = v.shape
        self.sizes = (batch, channels, s.shape[1], pixels)
        self.temperature = 0.0 if options.temperature is None else options.temperature
        double = torch.float64 in (v.dtype, s.dtype)
        common = {"compute": tl.float64 if double else tl.float32, "block_n": _block(s.shape[1])}
        self._settings = common | {
            "softmax": options.temperature is not None,
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
