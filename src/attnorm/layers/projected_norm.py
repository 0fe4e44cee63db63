"""What AttentiveNorm2d computes from its features and weights: 1x1 convolutions, softmax, normalisation, residual.

The convolutions are one product with x. On the CPU the compiled operator does the rest (`fused_norm.py`); everywhere
else, and for compilers, exporters and second derivatives, it is done step by step here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnorm.layers.autocast import autocast_dtype, without_autocast
from attnorm.layers.entity_projection import Sampling, entity_projection, is_channels_last
from attnorm.layers.kernels.composed import Moments
from attnorm.layers.onlookers import is_tracing, is_transformed
from attnorm.layers.regional_norm import regional_norm_with_moments


class Weights(NamedTuple):
    """Value: (c, c), its bias (c,) or None. Entities: (n, c). Per region: weight and bias, (n, c) or None for 1, 0."""

    value: Tensor
    value_bias: Tensor | None
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
    """(b, c, h, w) and (b, n, h, w), in the memory format of x.

    Parts of one product with x; under autocast of two, for the logits stay in float32.
    """
    matrix, offset = entity_projection(x, weights.entities, sampling)
    if autocast_dtype(x) is not None:
        return project(x, weights.value, weights.value_bias), project_to_logits(x, matrix, offset)
    both = torch.cat([weights.value.expand(*matrix.shape[:-2], -1, -1), matrix], dim=-2)
    value, logits = project(x, both).split((x.shape[1], matrix.shape[-2]), dim=1)
    if weights.value_bias is not None:
        value = value + weights.value_bias.to(value.dtype).view(-1, 1, 1)
    if offset is not None:
        logits = logits + offset.to(logits.dtype).view(*offset.shape, 1, 1)
    return value, logits


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


def project_to_logits(x: Tensor, matrix: Tensor, offset: Tensor | None) -> Tensor:
    """`project`, in float32 under autocast: a temperature multiplies what is rounded here."""
    if autocast_dtype(x) is None:
        return project(x, matrix, offset)
    with without_autocast(x):
        if is_tracing() or is_transformed():
            return project(x.float(), matrix, offset)
        logits: Tensor = _Float32Product.apply(x, matrix.float())
        return logits if offset is None else logits + offset.view(*offset.shape, 1, 1)


class _Float32Product(torch.autograd.Function):
    """`project(x.float(), matrix)` that keeps x as it is, not a copy twice its size, for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(x, matrix)
        return project(x.float(), matrix)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, Tensor | None]:
        (x, matrix), (grad,) = ctx.saved_tensors, grads
        d_x = d_matrix = None
        with without_autocast(x):
            if ctx.needs_input_grad[0]:
                d_x = project(grad, matrix.transpose(-2, -1)).to(x.dtype)
            if ctx.needs_input_grad[1]:
                d_matrix = torch.bmm(grad.flatten(2), x.float().flatten(2).transpose(1, 2)).sum_to_size(matrix.shape)
        return d_x, d_matrix


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
