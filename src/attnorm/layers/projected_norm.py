"""What AttentiveNorm2d computes from its features and weights: 1x1 convolutions, softmax, normalisation, residual.

The convolutions are one product with x. On the CPU the compiled operator does the rest (`fused_norm.py`); everywhere
else, and for compilers, exporters and second derivatives, it is done step by step here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from attnorm.layers.entity_projection import Sampling, entity_projection, is_channels_last
from attnorm.layers.kernels.composed import Moments
from attnorm.layers.regional_norm import regional_norm_with_moments


class Weights(NamedTuple):
    """Value: (c, c) and (c,). Entities: (n, c). Per region: weight and bias, (n, c) or None for 1 and 0."""

    value: Tensor
    value_bias: Tensor
    entities: Tensor
    weight: Tensor | None
    bias: Tensor | None


class Options(NamedTuple):
    temperature: float
    variance: str
    eps: float


def projected_norm(x: Tensor, weights: Weights, sampling: Sampling | None, options: Options) -> tuple[Tensor, Moments]:
    """x + regional_norm(value(x), softmax(temperature * logits(x))), for x (b, c, h, w), and the moments.

    The result has the dtype and memory format of x.
    """
    value, logits = value_and_logits(x, weights, sampling)
    return normalise_and_add(x, value, logits, weights, options)


def value_and_logits(x: Tensor, weights: Weights, sampling: Sampling | None) -> tuple[Tensor, Tensor]:
    """(b, c, h, w) and (b, n, h, w) from one product with x; views of one tensor in the memory format of x."""
    logits, offset = entity_projection(x, weights.entities, sampling)
    batch = logits.shape[:-2]
    if offset is None:
        offset = logits.new_zeros(logits.shape[:-1])
    matrix = torch.cat([weights.value.expand(*batch, -1, -1), logits], dim=-2)
    joint = project(x, matrix, torch.cat([weights.value_bias.expand(*batch, -1), offset], dim=-1))
    first, second = joint.split((x.shape[1], logits.shape[-2]), dim=1)
    return first, second


def normalise_and_add(
    x: Tensor, value: Tensor, logits: Tensor, weights: Weights, options: Options
) -> tuple[Tensor, Moments]:
    return regional_norm_with_moments(
        value,
        logits,
        weights.weight,
        weights.bias,
        variance=options.variance,
        eps=options.eps,
        temperature=options.temperature,
        residual=x,
    )


def project(x: Tensor, matrix: Tensor, offset: Tensor | None = None) -> Tensor:
    """A 1x1 convolution of x (b, c, h, w) with a matrix (m, c), or one per image (b, m, c); offset (m,) or (b, m).

    Returns (b, m, h, w) in the memory format of x, and in autocast's dtype under autocast.
    """
    flat, matrix = x.flatten(2), matrix.to(x.dtype)
    if is_channels_last(x):  # a pixel's channels side by side: rows of the product
        out = torch.matmul(flat.transpose(1, 2), matrix.transpose(-2, -1)).transpose(1, 2)
    else:
        out = torch.bmm(matrix.expand(x.shape[0], -1, -1), flat)
    if offset is not None:
        out = out + offset.to(out.dtype).unsqueeze(-1)
    return out.unflatten(2, x.shape[2:])
