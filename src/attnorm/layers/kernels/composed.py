"""The operator written in differentiable PyTorch operations.

Four thin matrix products instead of the (b, c, n, h, w) tensor of the paper's Algorithm 1. It is the form that
`torch.compile`, `torch.export` and double backward see; `eager` is the same function with its own backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnorm.layers.autocast import without_autocast

# A region that no pixel belongs to has mass 0 and contributes nothing: this only keeps 0 / 0 out.
SMALLEST_MASS = 1e-30
# At least half as many pixels of each channel and image estimate the shift that the moments are taken around.
SHIFT_SAMPLES = 1024
# Why a backend with a backward pass of its own refuses a call that this one runs.
NO_TRANSFORMS = "it has no rule for transforms of torch.func and forward-mode differentiation"


class Moments(NamedTuple):
    """Per image, channel and region: the mass (b, 1, n), mean (b, c, n) and variance (b, c, n)."""

    mass: Tensor
    mean: Tensor
    variance: Tensor


def estimate_shift(v: Tensor, dtype: torch.dtype) -> Tensor:
    """A constant near the mean of each channel, (b, c, 1), from a strided sample of the pixels.

    Moments of v - shift do not cancel in float32 when the mean is large beside the deviation. Any constant gives
    the same moments in exact arithmetic, so no gradient flows through it.
    """
    # Odd: an even step through rows of even length would meet some columns only, and the first one of most maps, which
    # padding makes unlike the others, too often.
    step = 2 * (v.shape[-1] // (2 * SHIFT_SAMPLES)) + 1
    return v.detach()[..., ::step].to(dtype).mean(-1, keepdim=True)


def region_mass(s: Tensor, variance: str, eps: float) -> Tensor:
    """The mass of each region, (b, 1, n): eq. 5, or line 2 of Algorithm 1, which adds eps."""
    mass = s.sum(-1).unsqueeze(1)
    return mass + eps if variance == "algorithm1" else mass.clamp_min(SMALLEST_MASS)


class Shifted(NamedTuple):
    """Features less a constant per channel, x = v - shift, and their regions' means, offset = mean - shift.

    At a mean of 1000 float32 keeps 4 digits of a deviation from it. What is large beside the deviations is therefore
    subtracted first, and added only to what is returned.
    """

    x: Tensor
    offset: Tensor


def moments(v: Tensor, s: Tensor, variance: str, eps: float) -> tuple[Moments, Shifted]:
    """Moments of v (b, c, p) in the regions s (b, n, p), both in the dtype of the computation."""
    shift = estimate_shift(v, v.dtype)
    x, s_t = v - shift, s.transpose(1, 2)
    mass = region_mass(s, variance, eps)
    first = x @ s_t
    if variance == "weighted":
        offset = first / mass
        var = (x * x) @ s_t / mass - offset * offset
    else:
        offset = (first - eps * shift) / mass  # its mass is eps more than what its sums have
        var = algorithm1_variance(x, s, shift, offset, mass)
    return Moments(mass, shift + offset, var.clamp_min(0)), Shifted(x, offset)


def algorithm1_variance(x: Tensor, s: Tensor, shift: Tensor, offset: Tensor, mass: Tensor) -> Tensor:
    """Line 6 of Algorithm 1, sum_p (s v - mean)^2 / mass, from v = x + shift and mean = offset + shift without large
    intermediate values.

    With d the offset and u = 1 - s each term is s x - shift u - d, whose square is summed here term by term.
    """
    d, u = offset, 1 - s
    u_sum, uu_sum = u.sum(-1).unsqueeze(1), (u * u).sum(-1).unsqueeze(1)
    total = (
        (x * x) @ (s * s).transpose(1, 2)
        + shift**2 * uu_sum
        + d**2 * s.shape[-1]
        - 2 * shift * (x @ (s * u).transpose(1, 2))
        - 2 * d * (x @ s.transpose(1, 2))
        + 2 * shift * d * u_sum
    )
    return total / mass


def safe_sqrt(var: Tensor) -> Tensor:
    """The square root with gradient 0, not infinity, at 0: a constant region has no direction to move in."""
    positive = var > 0
    return torch.where(positive, torch.where(positive, var, 1).sqrt(), 0)


def apply_moments(
    v: Tensor,
    s: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """sum_i s_i ((v - mean_i) / (sigma_i + eps) * weight_i + bias_i), eq. 5, for given moments (b or 1, c, n).

    v and s are in the dtype of the computation; weight and bias are (n, c) or None. Returns (b, c, p).
    """
    shift = mean.detach().mean(-1, keepdim=True)
    return _apply(Shifted(v - shift, mean - shift), s, variance, weight, bias, eps)


def _apply(
    shifted: Shifted, s: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    gain = 1 / (safe_sqrt(variance) + eps)
    if weight is not None:
        gain = gain * weight.t()
    offset = -shifted.offset * gain
    if bias is not None:
        offset = offset + bias.t()
    return shifted.x * (gain @ s) + offset @ s


def refusal(v: Tensor, s: Tensor, variance: str) -> None:
    """This backend runs every call."""


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
    """Normalises v (b, c, p) inside the regions s (b, n, p); returns the result and the moments.

    weight and bias (n, c) are in the dtype of the computation, see `compute_dtype`. With a temperature s holds logits,
    and the layout is softmax(temperature s) over n. The result has v's dtype; with a residual (b, c, p) it is their sum
    in the residual's dtype.
    """
    dtype = compute_dtype(v, s)
    with without_autocast(v):
        x, layout = v.to(dtype), layout_of(s, temperature, dtype)
        found, shifted = moments(x, layout, variance, eps)
        out = _apply(shifted, layout, found.variance, weight, bias, eps)
        return add_residual(out, residual, v.dtype), found


def layout_of(s: Tensor, temperature: float | None, dtype: torch.dtype) -> Tensor:
    """The layout in the dtype of the computation, from itself or from logits."""
    s = s.to(dtype)
    return s if temperature is None else torch.softmax(temperature * s, dim=1)


def add_residual(out: Tensor, residual: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The result, rounded once: to dtype, or added to the residual in its dtype."""
    return out.to(dtype) if residual is None else (residual + out).to(residual.dtype)


def gradients(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    variance: str,
    eps: float,
    temperature: float | None,
    grad: Tensor,
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """The gradients of (v, s, weight, bias) as a graph, None where not needed: what second derivatives go through.

    The statistics are computed again from the inputs: to autograd those that a backend saved are constants, and second
    derivatives taken through them would be silently wrong.
    """
    v, s, weight, bias = aliases(v, s, weight, bias)
    inputs = [t for t, need in zip((v, s, weight, bias), needed, strict=True) if need and t is not None]
    out, _ = regional_norm(v, s, weight, bias, variance, eps, temperature)
    found = iter(torch.autograd.grad(out, inputs, grad.to(out.dtype), create_graph=True))
    return tuple(next(found) if need else None for need in needed)


def aliases(*tensors: Tensor | None) -> list[Any]:
    """Views, to differentiate with respect to: of two tensors one may have been computed from the other, and its
    gradient would then hold what reaches it through the other as well, which autograd adds by itself.
    """
    return [None if t is None else t.view_as(t) for t in tensors]


def compute_dtype(v: Tensor, s: Tensor) -> torch.dtype:
    """float64 where an input is float64, float32 everywhere else: half precision never squares or sums."""
    return torch.float64 if torch.float64 in (v.dtype, s.dtype) else torch.float32
