"""The whole of AttentiveNorm2d as one autograd function around the C++ operator, for the CPU.

`projected_norm` says what is computed. Done step by step, autograd puts slices, sums and copies as large as the map
between the products and the operator, and a hundred small operations around the n sampled keys; at 32 x 64 x 32 x 32
they cost as much as the operator itself. Here the forward pass makes one large tensor, the joint projection, and the
backward pass its gradient and that of x.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnorm.layers.autocast import autocast_dtype, without_autocast
from attnorm.layers.entity_projection import Sampling, is_channels_last, pick_pixels, row_numbers
from attnorm.layers.kernels import composed, cpp
from attnorm.layers.onlookers import is_dispatched, is_tracing
from attnorm.layers.projected_norm import Options, Weights, projected_norm


def refusal(x: Tensor, weights: Weights, options: Options) -> str | None:
    """Why this function cannot take a call, or None."""
    if is_tracing():
        return "the operations of the call are being recorded"
    if is_dispatched(x, *weights):
        return "a dispatch mode or a subclass of Tensor must see every operation"
    if reason := cpp.refusal(x, x, options.variance):
        return reason
    product, parameter = _product_dtype(x), _product_dtype(weights.entities)
    if product != parameter:
        return f"{x.dtype} features do not go with {weights.entities.dtype} weights"
    return None if product in cpp.STORAGE else f"products in {product}"


def fused_norm(x: Tensor, weights: Weights, sampling: Sampling | None, options: Options) -> Tensor:
    """The first result of `projected_norm`; `refusal` must have been None."""
    drawn = Sampling(*[None] * 6) if sampling is None else sampling  # type: ignore[arg-type]
    out: Tensor = _FusedNorm.apply(options, x, *weights, *drawn)
    return out


class _Needed(NamedTuple):
    """Which gradients are asked for, of those that have a price."""

    x: bool
    value: bool
    value_bias: bool
    entities: bool
    weight: bool
    bias: bool


class _FusedNorm(torch.autograd.Function):
    """(options, x, *weights, *sampling) -> the result. Notation as in `entity_projection`: keys K, query Q."""

    @staticmethod
    def forward(ctx: Any, options: Options, x: Tensor, *tensors: Tensor | None) -> Tensor:
        weights, sampling = _split(tensors)
        ctx.options, ctx.autocast = options, autocast_dtype(x)
        dtype, c = _product_dtype(x), x.shape[1]
        arithmetic = torch.float64 if x.dtype == torch.float64 else torch.float32
        flat = x.flatten(2)
        with without_autocast(x):
            picked = keys = choice = offset = None
            projection = weights.entities
            if sampling is not None:
                picked = pick_pixels(x, sampling.pixels.flatten(1)).to(arithmetic)
                every_key = picked @ sampling.key.t().to(arithmetic) + sampling.key_bias
                keys, choice = every_key.unflatten(1, sampling.pixels.shape[1:]).max(2)
                filters = sampling.gain.unsqueeze(1) * keys
                offset = (filters @ sampling.query_bias.to(arithmetic)).contiguous()
                projection = projection + filters @ sampling.query.to(arithmetic)
            if ctx.autocast is None:
                joint = _multiply(flat, _stacked(weights.value, projection, dtype))
                value, logits = joint[:, :c], joint[:, c:]
            else:
                value = _multiply(flat.to(dtype), weights.value.to(dtype))
                logits = cpp.project(flat, projection.to(arithmetic))
            affine = _affine(weights, arithmetic)
            out = cpp.empty_like(flat, x.dtype)
            moments = cpp.empty_moments(value, logits)
            call = cpp.Call(value, logits, *affine, options.temperature, options.eps, offset)
            cpp.solve_forward(call, flat, out, moments)
        ctx.save_for_backward(x, *tensors, value, logits, projection, *moments, picked, keys, choice, offset)
        return out.unflatten(2, x.shape[2:])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        tensors, (value, logits, projection, *moments, picked, keys, choice, offset) = saved[:11], saved[11:]
        (grad,), needed = grads, _Needed(*ctx.needs_input_grad[1:7])
        if torch.is_grad_enabled():
            return None, *_gradients_as_graph(ctx, x, tensors, grad)
        weights, sampling = _split(tensors)
        c, arithmetic = x.shape[1], moments[0].dtype
        d_x = d_value = d_entities = None
        d_sampling: list[Tensor | None] = [None] * 6
        with without_autocast(x):
            affine = _affine(weights, arithmetic)
            flat, upstream = x.flatten(2), grad.flatten(2)
            # Gradients of values and logits are of one type, that of products with x, for one product with both.
            d_joint = cpp.empty_like(value, value.dtype, channels=c + logits.shape[1])
            d_weight, d_bias = (
                torch.zeros_like(t) if t is not None and need else None
                for t, need in zip(affine, (needed.weight, needed.bias), strict=True)
            )
            call = cpp.Call(value, logits, *affine, ctx.options.temperature, ctx.options.eps, offset)
            cpp.solve_backward(call, upstream, moments, (d_joint[:, :c], d_joint[:, c:], d_weight, d_bias))
            if needed.x:
                matrix = _stacked(weights.value, projection, d_joint.dtype)
                d_flat = _multiply(d_joint, matrix.transpose(-2, -1)).to(upstream.dtype).add_(upstream)
                d_x = d_flat.unflatten(2, x.shape[2:])
            # A frozen layer hands gradients on through its keys, but needs none of its value's weights.
            first = 0 if needed.value else c
            d_matrix = torch.bmm(d_joint[:, first:], flat.to(d_joint.dtype).transpose(1, 2))
            if needed.value:
                d_value = d_matrix[:, :c].sum(0, dtype=arithmetic)
            d_logits = d_matrix[:, c - first :].to(arithmetic)
            d_entities = d_logits.sum(0)
            if sampling is not None:
                d_offset = d_joint[:, c:].sum(2, dtype=arithmetic)
                d_sampling, d_picked = _sampling_gradients(sampling, d_logits, d_offset, picked, keys, choice)
                if d_x is not None:
                    _add_pixels(d_x, sampling.pixels, d_picked)
        found = [d_value, None, d_entities, d_weight, d_bias, *d_sampling]
        return None, d_x, *(None if d is None else d.to(t.dtype) for d, t in zip(found, tensors, strict=True))


def _sampling_gradients(
    sampling: Sampling, d_logits: Tensor, d_offset: Tensor, picked: Tensor, keys: Tensor, choice: Tensor
) -> tuple[list[Tensor | None], Tensor]:
    """The gradients of the members of `sampling`, and of the features picked (b, n m, c).

    d_logits (b, n, c) and d_offset (b, n) are those of W + t K Q and of t K b.
    """
    dtype = d_logits.dtype
    key, query, query_bias, gain = (
        t.to(dtype) for t in (sampling.key, sampling.query, sampling.query_bias, sampling.gain)
    )
    filters = gain.unsqueeze(1) * keys
    d_filters = d_logits @ query.t() + d_offset.unsqueeze(2) * query_bias
    d_query = filters.flatten(0, 1).t() @ d_logits.flatten(0, 1)
    d_query_bias = d_offset.flatten() @ filters.flatten(0, 1)
    d_gain = (d_filters * keys).sum((0, 2))
    d_keys = gain.unsqueeze(1) * d_filters
    # Of the pixels that are pooled, the one with the largest key gets its gradient, channel by channel.
    d_every_key = d_keys.new_zeros((*sampling.pixels.shape, d_keys.shape[-1]))
    d_every_key = d_every_key.scatter_(2, choice.unsqueeze(2), d_keys.unsqueeze(2)).flatten(1, 2)
    d_key = d_every_key.flatten(0, 1).t() @ picked.flatten(0, 1)
    found = [None, d_key, d_keys.sum((0, 1)), d_query, d_query_bias, d_gain]
    return found, d_every_key @ key


def _add_pixels(d_x: Tensor, pixels: Tensor, values: Tensor) -> None:
    """Adds values (b, n m, c) to d_x (b, c, h, w) at flat positions (b, n, m), no two of which are the same."""
    index, values = pixels.flatten(1), values.to(d_x.dtype)
    if is_channels_last(d_x):
        rows = d_x.permute(0, 2, 3, 1).flatten(0, 2)
        rows.index_add_(0, row_numbers(index, d_x).flatten(), values.flatten(0, 1))
    else:
        d_x.flatten(2).scatter_add_(2, index.unsqueeze(1).expand(-1, d_x.shape[1], -1), values.transpose(1, 2))


def _gradients_as_graph(ctx: Any, x: Tensor, tensors: list[Tensor | None], grad: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients of x and the tensors, to be differentiated again: from the steps one by one."""
    x, *tensors = composed.aliases(x, *tensors)
    weights, sampling = _split(tensors)
    with torch.autocast("cpu", dtype=ctx.autocast, enabled=ctx.autocast is not None):
        out, _ = projected_norm(x, weights, sampling, ctx.options)
    inputs, needed = (x, *tensors), ctx.needs_input_grad[1:]
    wanted = [t for t, need in zip(inputs, needed, strict=True) if need and t is not None]
    found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True, materialize_grads=True))
    return tuple(next(found) if need else None for need in needed)


def _split(tensors: Any) -> tuple[Weights, Sampling | None]:
    weights, sampling = Weights(*tensors[:5]), tensors[5:]
    return weights, None if sampling[0] is None else Sampling(*sampling)


def _affine(weights: Weights, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
    weight, bias = (None if t is None else t.detach().to(dtype).contiguous() for t in (weights.weight, weights.bias))
    return weight, bias


def _stacked(value: Tensor, projection: Tensor, dtype: torch.dtype) -> Tensor:
    """The matrix of both products, (c + n, c), or (b, c + n, c) where each image has its own projection (b, n, c)."""
    return torch.cat([value.expand(*projection.shape[:-2], -1, -1), projection], dim=-2).to(dtype)


def _multiply(flat: Tensor, matrix: Tensor) -> Tensor:
    """matrix (m, c) or (b, m, c) times the features flat (b, c, p) of every pixel; (b, m, p) in the order of flat."""
    if cpp.channels_side_by_side(flat):
        return torch.matmul(flat.transpose(1, 2), matrix.transpose(-2, -1)).transpose(1, 2)
    return torch.bmm(matrix.expand(flat.shape[0], -1, -1), flat)


def _product_dtype(x: Tensor) -> torch.dtype:
    return autocast_dtype(x) or x.dtype
