"""The tensors of a layer's call, and equations 2 and 3 as weights of one product with the features.

F of eq. 2 is K q(x), with K the keys of an image at n sampled positions. So t F + f(x) = (W + t K Q) x + t K b, where Q
and b are the query's weight and bias. These matrices are small; F, the queries, and the keys at other positions are
never computed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor


class Inputs(NamedTuple):
    """The tensors of a call; the last six are None without sampling. Weight and bias are in the computation's dtype and
    multiplied by rho, as eq. 5 is linear in them."""

    x: Tensor  # (b, c, h, w)
    value: Tensor  # (c, c, 1, 1), in the dtype of its product with x: autocast's under autocast
    entities: Tensor  # (n, c, 1, 1)
    weight: Tensor  # (n, c)
    bias: Tensor | None  # (n, c), or None for 0
    key: Tensor | None = None  # (k, c, 1, 1)
    key_bias: Tensor | None = None  # (k,)
    query: Tensor | None = None  # (k, c, 1, 1)
    query_bias: Tensor | None = None  # (k,)
    sampling_gain: Tensor | None = None  # t, (n,)
    positions: Tensor | None = None  # (b, n): of the sampled filters in the pooled map


NAMES = Inputs._fields


def as_matrices(tensors: Sequence[Any]) -> Inputs:
    """The inputs with weights as matrices, and all parameters of the logits in the dtype of the computation."""
    inputs = Inputs(*tensors)
    names = ("entities",) if inputs.positions is None else ("entities", *NAMES[5:10])
    given, dtype = ((name, getattr(inputs, name)) for name in names), inputs.weight.dtype
    converted = {name: (t.flatten(1) if t.ndim == 4 else t).to(dtype) for name, t in given}
    return inputs._replace(value=inputs.value.flatten(1), **converted)


class Sampled(NamedTuple):
    """The logits' weights of a call with sampling, and what their gradients need."""

    matrix: Tensor  # W + t K Q, (b, n, c)
    offset: Tensor  # t K b, (b, n)
    keys: Tensor  # K, (b, n, k)
    pixels: Tensor  # (b, n m): flat indices of the m pixels that are pooled at each position
    choice: Tensor  # (b, n, k): which of the m pixels has the largest key


def sample_filters(inputs: Inputs, pool: int) -> Sampled | None:
    """Samples at the positions in the map pooled by `pool`, from `as_matrices`; None without positions."""
    x, positions = inputs.x, inputs.positions
    if positions is None:
        return None
    key, key_bias, query, query_bias, gain = cast(tuple[Tensor, ...], inputs[5:10])
    width, columns, steps = x.shape[3], x.shape[3] // pool, torch.arange(pool, device=x.device)
    first = (positions + positions // columns * (width - columns)) * pool
    pixels = (first.unsqueeze(2) + (steps.unsqueeze(1) * width + steps).flatten()).flatten(1)
    images = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    picked = _by_pixel(x)[images, pixels].to(inputs.weight.dtype)
    all_keys = torch.addmm(key_bias, picked.flatten(0, 1), key.t())
    keys, choice = all_keys.unflatten(0, (*positions.shape, pool * pool)).max(2)
    filters = gain.unsqueeze(1) * keys
    matrix = torch.baddbmm(inputs.entities, filters, query.expand(x.shape[0], -1, -1))
    return Sampled(matrix, filters @ query_bias, keys, pixels, choice)


def sampling_gradients(
    inputs: Inputs, sampled: Sampled, d_matrix: Tensor, d_offset: Tensor, d_x: Tensor | None
) -> dict[str, Tensor]:
    """The parameters' gradients from those of matrix and offset; adds the keys' share of the gradient of x to d_x."""
    keys, (key, _, query, query_bias, gain) = sampled.keys, cast(tuple[Tensor, ...], inputs[5:10])
    filters = (gain.unsqueeze(1) * keys).flatten(0, 1)
    d_filters = torch.addcmul(d_matrix @ query.t(), d_offset.unsqueeze(2), query_bias)
    d_keys = gain.unsqueeze(1) * d_filters
    # Of the pixels that are pooled, the one with the largest key gets its gradient, channel by channel.
    (b, n, k), pooled = keys.shape, sampled.pixels.shape[1] // keys.shape[1]
    d_all_keys = d_keys.new_zeros((b, n, pooled, k)).scatter_(2, sampled.choice.unsqueeze(2), d_keys.unsqueeze(2))
    d_all_keys = d_all_keys.flatten(0, 2)
    images = torch.arange(b, device=keys.device).unsqueeze(1)
    picked = _by_pixel(inputs.x)[images, sampled.pixels].to(keys.dtype).flatten(0, 1)
    if d_x is not None:
        d_picked = (d_all_keys @ key).to(d_x.dtype).unflatten(0, (b, n * pooled))
        _by_pixel(d_x)[images, sampled.pixels] += d_picked  # no pixel occurs twice
    return {
        "key": d_all_keys.t() @ picked,
        "key_bias": d_keys.sum((0, 1)),
        "query": filters.t() @ d_matrix.flatten(0, 1),
        "query_bias": d_offset.flatten() @ filters,
        "sampling_gain": (d_filters * keys).sum((0, 2)),
    }


def _by_pixel(x: Tensor) -> Tensor:
    """x (b, c, h, w) as (b, h w, c), a view in both memory formats."""
    return x.flatten(2).transpose(1, 2)
