"""The formulas written down word for word, in any dtype: slow, obvious, and independent of the package."""

from __future__ import annotations

import torch
from torch import Tensor


def regional_norm(
    v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, variance: str, eps: float = 1e-5
) -> Tensor:
    """Equation 5, or the supplementary's Algorithm 1, with its (b, c, n, h, w) tensor."""
    s, v = s[:, None], v[:, :, None]
    mass = s.sum((-2, -1), keepdim=True)
    if variance == "algorithm1":
        mass = mass + eps
        activated = v * s
        mean = activated.sum((-2, -1), keepdim=True) / mass
        std = (((activated - mean) ** 2).sum((-2, -1), keepdim=True) / mass).sqrt()
    else:
        mean = (s * v).sum((-2, -1), keepdim=True) / mass
        std = ((s * (v - mean) ** 2).sum((-2, -1), keepdim=True) / mass).sqrt()
    normalised = (v - mean) / (std + eps)
    if weight is not None:
        normalised = normalised * _spread(weight)
    if bias is not None:
        normalised = normalised + _spread(bias)
    return (normalised * s).sum(2)


def layout(
    x: Tensor, entities: Tensor, temperature: float, correlation: Tensor | None = None, gain: Tensor | None = None
) -> Tensor:
    """Equations 3 and 4: softmax over the entities of tau (t F + f(X)), pixel by pixel."""
    raw = torch.einsum("nc,bchw->bnhw", entities, x)
    if correlation is not None and gain is not None:
        raw = raw + gain[None, :, None, None] * correlation
    exponentials = torch.exp(temperature * raw)
    return exponentials / exponentials.sum(1, keepdim=True)


def conv1x1(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out = torch.einsum("oc,bchw->bohw", weight.flatten(1), x)
    return out if bias is None else out + bias[None, :, None, None]


def _spread(parameter: Tensor) -> Tensor:
    """(n, c) or (c,) -> broadcastable to (b, c, n, h, w)."""
    if parameter.ndim == 1:
        return parameter[None, :, None, None, None]
    return parameter.t()[None, :, :, None, None]
