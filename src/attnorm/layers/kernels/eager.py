"""The operator as one autograd function: factored backward, nothing large saved, bounded scratch memory.

Notation of the code below, with S the layout (b, n, p), X the features less a constant per channel (b, c, p) and G the
upstream gradient: per region q = mass, mean, variance v, sigma = sqrt(v), r = 1 / (sigma + eps), gain A = weight r. The
output is X * (A S) + B S with B = bias - mean A. Only v, s and the (b, c, n) statistics are kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnorm.layers.autocast import without_autocast
from attnorm.layers.kernels import composed
from attnorm.layers.kernels.composed import NO_TRANSFORMS, Moments
from attnorm.layers.onlookers import is_transformed

# Scratch per block on the CPU. Blocks that fit the second-level cache lose more to starting parallel regions than they
# win; whole 512 x 512 maps lose to page faults on fresh memory.
BLOCK_BYTES = 16 << 20


class RegionalNorm(torch.autograd.Function):
    """(v, s, weight, bias, variance, eps) -> (out, mass, mean, variance); the moments carry no gradient."""

    @staticmethod
    def forward(
        ctx: Any, v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, variance: str, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        with without_autocast(v):
            shift = composed.estimate_shift(v, composed.compute_dtype(v, s))
            blocks = _Blocks(v, s, shift)
            found, mean = _moments(v, s, blocks, shift, variance, eps)
            gain, offset = _gain_and_offset(mean, found.variance, weight, bias, eps)
            out = torch.empty_like(v)
            for block in blocks:
                x, layout = block.x, block.layout
                out[block.index].copy_(_spread(offset, layout, x).addcmul_(x, _spread(gain, layout, x)))
        ctx.save_for_backward(v, s, weight, bias, shift, found.mass, mean, found.variance)
        ctx.mark_non_differentiable(*found)
        ctx.variance, ctx.eps = variance, eps
        return out, *found

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        v, s, weight, bias, shift, *statistics = ctx.saved_tensors
        grad, needed = grads[0], ctx.needs_input_grad[:4]
        with without_autocast(v):
            if torch.is_grad_enabled():
                result = composed.gradients(v, s, weight, bias, ctx.variance, ctx.eps, None, grad, needed)
            else:
                found = Moments(*statistics)  # with the mean of v - shift
                result = _backward(v, s, weight, bias, shift, found, ctx.variance, ctx.eps, grad, needed)
        return (*result, None, None)


def refusal(v: Tensor, s: Tensor, variance: str) -> str | None:
    """Why this backend cannot run a call, or None. Every device, dtype and variance runs."""
    return NO_TRANSFORMS if is_transformed() else None


def regional_norm(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    variance: str,
    eps: float,
    temperature: float | None = None,
    residual: Tensor | None = None,
) -> tuple[Tensor, Moments]:
    """See `composed.regional_norm`."""
    if temperature is not None:
        with without_autocast(v):
            s = composed.layout_of(s, temperature, composed.compute_dtype(v, s))
    out, *found = RegionalNorm.apply(v, s, weight, bias, variance, eps)
    return composed.add_residual(out, residual, v.dtype), Moments(*found)


def _moments(v: Tensor, s: Tensor, blocks: _Blocks, shift: Tensor, variance: str, eps: float) -> tuple[Moments, Tensor]:
    """The moments, and the mean less the shift, with all its digits."""
    if variance == "algorithm1":
        # The ablation needs products of the layout with itself; it takes the direct route over the whole map.
        found, shifted = composed.moments(v.to(shift.dtype), s.to(shift.dtype), variance, eps)
        return found, shifted.offset
    per_region = (*v.shape[:2], s.shape[1])
    first, second = shift.new_zeros(per_region), shift.new_zeros(per_region)
    for block in blocks:
        s_t = block.layout.transpose(1, 2)
        first += block.x @ s_t
        second += (block.x * block.x) @ s_t
    mass = composed.region_mass(s.to(shift.dtype), variance, eps)
    offset = first / mass
    return Moments(mass, shift + offset, (second / mass - offset * offset).clamp_min_(0)), offset


def _gain_and_offset(
    mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor]:
    """A and B such that the output is X * (A S) + B S, from the moments of X; both (b, c, n)."""
    gain = 1 / (variance.sqrt() + eps)
    if weight is not None:
        gain = gain * weight.t()
    offset = -mean * gain
    return gain, offset if bias is None else offset + bias.t()


def _backward(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    shift: Tensor,
    found: Moments,
    variance: str,
    eps: float,
    grad: Tensor,
    needed: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    mass, mean, var = found
    blocks = _Blocks(v, s, shift, grad)
    grad_sum, grad_dot = torch.zeros_like(mean), torch.zeros_like(mean)  # U = G S' and T = (G * X) S'
    for block in blocks:
        s_t = block.layout.transpose(1, 2)
        grad_sum += block.grad @ s_t
        grad_dot += block.grad_x @ s_t

    centred = grad_dot - mean * grad_sum
    if variance == "algorithm1":  # not invariant to a shift of the features: what follows holds for v itself
        mean = mean + shift
        blocks = _Blocks(v, s, torch.zeros_like(shift), grad)
    gain, offset = _gain_and_offset(mean, var, weight, bias, eps)
    sigma = var.sqrt()
    d_weight = (centred / (sigma + eps)).sum(0).t() if needed[2] else None
    d_bias = grad_sum.sum(0).t() if needed[3] else None
    if not (needed[0] or needed[1]):
        return None, None, d_weight, d_bias

    # d var = d sigma / (2 sigma); where sigma is 0 the features do not vary and the derivative is taken as 0.
    d_var = torch.where(sigma > 0, -centred * gain / (sigma + eps) / (2 * sigma), 0)
    d_mean = -gain * grad_sum
    if variance == "algorithm1":
        d_mean = d_mean + 2 * mean * (v.shape[-1] - mass) / mass * d_var
        constant = -(d_var / mass * var + mean * d_mean / mass).sum(1)
    else:
        constant = (d_var / mass * (mean * mean - var) - mean * d_mean / mass).sum(1)
    quadratic = d_var / mass
    linear = (d_mean - 2 * mean * d_var) / mass

    d_v = torch.empty_like(v) if needed[0] else None
    d_s = torch.empty_like(s) if needed[1] else None
    for index, x, layout, g, gx in blocks:
        squared = layout * layout if variance == "algorithm1" else layout
        if d_v is not None:
            result = _spread(linear, layout, x).addcmul_(g, _spread(gain, layout, x))
            d_v[index].copy_(result.addcmul_(x, _spread(quadratic, squared, x), value=2))
        if d_s is not None:
            result = _gather(gain, gx, layout) + _gather(offset, g, layout) + _gather(linear, x, layout)
            curved = _gather(quadratic, x * x, layout)
            result += 2 * layout * curved if variance == "algorithm1" else curved
            d_s[index].copy_(result.add_(constant.unsqueeze(-1)))
    return d_v, d_s, d_weight, d_bias


class _Block(NamedTuple):
    """A run of pixels: its index, X = v - shift and S there, and for the backward pass G and G * X."""

    index: Any
    x: Tensor
    layout: Tensor
    grad: Tensor
    grad_x: Tensor


class _Blocks:
    """The runs of pixels of a map, in the dtype of the computation; a map of one run is converted only once."""

    def __init__(self, v: Tensor, s: Tensor, shift: Tensor, grad: Tensor | None = None) -> None:
        self._v, self._s, self._shift, self._grad = v, s, shift, grad
        self._length = v.shape[-1]
        if v.device.type == "cpu":
            pixel_bytes = v.shape[0] * v.shape[1] * shift.element_size()  # 0 for an empty batch
            self._length = max(1, BLOCK_BYTES // max(1, pixel_bytes))
        self._only = self._block(0) if self._length >= v.shape[-1] else None

    def __iter__(self) -> Iterator[_Block]:
        if self._only is not None:
            yield self._only
            return
        for start in range(0, self._v.shape[-1], self._length):
            yield self._block(start)

    def _block(self, start: int) -> _Block:
        index = (slice(None), slice(None), slice(start, start + self._length))
        dtype = self._shift.dtype
        x, layout = self._v[index].to(dtype) - self._shift, self._s[index].to(dtype)
        if self._grad is None:
            return _Block(index, x, layout, x, x)
        grad = self._grad[index].to(dtype)
        return _Block(index, x, layout, grad, grad * x)


def _spread(per_region: Tensor, layout: Tensor, like: Tensor) -> Tensor:
    """per_region (b, c, n) times layout (b, n, p), laid out in memory as `like`, for the next step to read in order."""
    if like.stride(1) == 1:
        return (layout.transpose(1, 2) @ per_region.transpose(1, 2)).transpose(1, 2)
    return per_region @ layout


def _gather(per_region: Tensor, x: Tensor, like: Tensor) -> Tensor:
    """sum_c per_region (b, c, n) x (b, c, p) -> (b, n, p), laid out in memory as `like`."""
    return _spread(per_region.transpose(1, 2), x, like)
