"""Which programs a call launches, on which blocks; nothing here runs anything.

Blocks and warps are arithmetic and the reports of the compiler (see `resources`), not measurements.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnorm.layers.kernels import composed

BLOCK_CHANNELS, BLOCK_PIXELS, BLOCK_SPLITS, NUM_WARPS = 32, 64, 64, 4
SMALLEST_BLOCK = 16  # a side of tl.dot
# A map is cut until about this many programs run: a few for each multiprocessor of the largest GPU. It does not depend
# on the GPU, so neither do the results.
PROGRAMS = 1024


class Launch(NamedTuple):
    """One program of `programs`: by name, with its grid, its arguments in order, and its constants and options."""

    program: str
    grid: tuple[int, ...]
    arguments: tuple[Any, ...]
    settings: dict[str, Any]


class Statistics(NamedTuple):
    """What the forward pass leaves for the backward pass: mass (b, n), mean and variance (b, c, n), shift (b, c)."""

    mass: Tensor
    mean: Tensor
    variance: Tensor
    shift: Tensor


class Options(NamedTuple):
    """temperature is None where s is the layout itself, not logits."""

    temperature: float | None
    variance: str
    eps: float


class Gradients(NamedTuple):
    """Where gradients go: as v and s, or None; coefficients (b, 5, c, n); parameter_terms (b, 2, n, c) of each image."""

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
    splits, span = plan.cut(plan.rows)
    kinds, region_kinds = (3, 3) if plan.algorithm1 else (2, 1)
    batch, channels, regions, _ = plan.sizes
    shifts = found.mean.new_empty(batch, splits, channels)
    region_sums = found.mean.new_empty(batch, splits, region_kinds, regions)
    channel_sums = found.mean.new_empty(batch, splits, kinds, channels, regions)
    gain, offset = torch.empty_like(found.mean), torch.empty_like(found.mean)
    scalars = (plan.temperature, *plan.sizes[1:], span, *v.stride(), *s.stride())
    return [
        Launch(
            "partial_moments",
            (plan.rows, splits),
            (v, s, shifts, region_sums, channel_sums, *scalars),
            plan.block_settings | plan.variance_settings,
        ),
        Launch(
            "finish_moments",
            (batch * channels,),
            (shifts, region_sums, channel_sums, weight, bias, *found[:3], gain, offset, found.shift)
            + (options.eps, *plan.sizes[1:], span, splits, *_strides(weight, 2), *_strides(bias, 2)),
            plan.finish_settings,
        ),
        Launch(
            "apply",
            (plan.rows, splits),
            (v, s, residual, found.shift, gain, offset, out, *scalars, *_strides(residual, 3), *out.stride()),
            plan.block_settings,
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
    splits, span = plan.cut(plan.rows)
    batch, channels, regions, _ = plan.sizes
    sums = found.mean.new_empty(batch, splits, 2, channels, regions)
    strides = (*v.stride(), *s.stride(), *grad.stride())
    launches = [
        Launch(
            "partial_gradients",
            (plan.rows, splits),
            (v, s, grad, found.shift, sums, plan.temperature, *plan.sizes[1:], span, *strides),
            plan.block_settings,
        ),
        Launch(
            "finish_gradients",
            (batch * channels,),
            (sums, weight, bias, *found, into.coefficients, into.parameter_terms)
            + (options.eps, *plan.sizes[1:], splits, *_strides(weight, 2), *_strides(bias, 2)),
            plan.finish_settings,
        ),
    ]
    if into.v is None and into.s is None:
        return launches
    splits, span = plan.cut(batch)
    last = Launch(
        "apply_gradients",
        (batch, splits),
        (v, s, grad, found.shift, into.coefficients, into.v, into.s, plan.temperature, *plan.sizes[1:], span, *strides)
        + (*_strides(into.v, 3), *_strides(into.s, 3)),
        plan.block_settings | plan.variance_settings,
    )
    return [*launches, last]


class _Plan:
    """How a call is cut into programs, and what they are compiled for."""

    def __init__(self, v: Tensor, s: Tensor, options: Options) -> None:
        import triton.language as tl

        batch, channels, pixels = v.shape
        self.sizes = (batch, channels, s.shape[1], pixels)
        self.temperature = 0.0 if options.temperature is None else options.temperature
        self.algorithm1 = options.variance == "algorithm1"
        double = composed.compute_dtype(v, s) == torch.float64
        block_c, block_n = min(BLOCK_CHANNELS, _block(channels)), _block(s.shape[1])
        self.rows = batch * -(-channels // block_c)
        self.variance_settings = {"algorithm1": self.algorithm1}
        common = {"compute": tl.float64 if double else tl.float32, "block_n": block_n, "num_warps": NUM_WARPS}
        self.block_settings = common | {
            "softmax": options.temperature is not None,
            "precision": "ieee" if double else "tf32x3",
            "block_c": block_c,
            "block_p": BLOCK_PIXELS,
        }
        self.finish_settings = common | self.variance_settings | {"block_s": BLOCK_SPLITS}

    def cut(self, rows: int) -> tuple[int, int]:
        """Splits of a map, and pixels in each but the last, for a grid of this many rows."""
        blocks = -(-self.sizes[3] // BLOCK_PIXELS)
        per_split = -(-blocks // max(1, PROGRAMS // rows))
        return -(-blocks // per_split), per_split * BLOCK_PIXELS


def _block(size: int) -> int:
    """The power of two that holds a size, as tl.dot wants it."""
    return max(SMALLEST_BLOCK, 1 << (size - 1).bit_length())


def _strides(tensor: Tensor | None, ndim: int) -> tuple[int, ...]:
    return (0,) * ndim if tensor is None else tensor.stride()
