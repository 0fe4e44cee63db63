"""Equations 2 and 3 as weights of one product with the features, for the fused operator.

F of eq. 2 is K q(x), with K the keys of an image at n sampled positions. So t F + f(x) = (W + t K Q) x + t K b, where Q
and b are the query's weight and bias. These matrices are small; F, the queries, and the keys at other positions are
never computed.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Sampling(NamedTuple):
    """The parameters of sampling, in the dtype of the computation."""

    key: Tensor  # (k, c)
    key_bias: Tensor  # (k,)
    query: Tensor  # (k, c)
    query_bias: Tensor  # (k,)
    gain: Tensor  # t, (n,)


class Keys(NamedTuple):
    """The keys at the sampled positions, and what their gradients need."""

    images: Tensor  # (b, 1): the index of each image
    pixels: Tensor  # (b, n, m): flat indices of the m pixels that are pooled at each position
    picked: Tensor  # (b, n m, c): the features of these pixels
    values: Tensor  # (b, n, k)
    choice: Tensor  # (b, n, k): which of the m pixels has the largest key


def sample_filters(
    x: Tensor, entities: Tensor, sampling: Sampling, positions: Tensor, pool: int
) -> tuple[Tensor, Tensor, Keys]:
    """W + t K Q, (b, n, c), and t K b, (b, n), for entities W (n, c) and positions (b, n) in the pooled map."""
    width, columns = x.shape[3], x.shape[3] // pool
    steps = torch.arange(pool, device=x.device)
    first = (positions // columns * width + positions % columns) * pool
    pixels = first.unsqueeze(-1) + (steps.unsqueeze(1) * width + steps).flatten()
    images = torch.arange(len(x), device=x.device).unsqueeze(1)
    picked = _by_pixel(x)[images, pixels.flatten(1)].to(entities.dtype)
    all_keys = torch.addmm(sampling.key_bias, picked.flatten(0, 1), sampling.key.t())
    values, choice = all_keys.unflatten(0, pixels.shape).max(2)
    filters = sampling.gain.unsqueeze(1) * values
    return (
        entities + filters @ sampling.query,
        filters @ sampling.query_bias,
        Keys(images, pixels, picked, values, choice),
    )


def sampling_gradients(
    sampling: Sampling, keys: Keys, d_matrix: Tensor, d_offset: Tensor, d_x: Tensor | None
) -> Sampling:
    """The parameters' gradients from those of W + t K Q and t K b; adds the keys' share of the gradient of x to d_x."""
    filters = sampling.gain.unsqueeze(1) * keys.values
    d_filters = d_matrix @ sampling.query.t() + d_offset.unsqueeze(2) * sampling.query_bias
    d_keys = sampling.gain.unsqueeze(1) * d_filters
    # Of the pixels that are pooled, the one with the largest key gets its gradient, channel by channel.
    d_all_keys = d_keys.new_zeros((*keys.pixels.shape, d_keys.shape[-1]))
    d_all_keys = d_all_keys.scatter_(2, keys.choice.unsqueeze(2), d_keys.unsqueeze(2)).flatten(1, 2)
    if d_x is not None:
        # No pixel occurs twice.
        _by_pixel(d_x)[keys.images, keys.pixels.flatten(1)] += (d_all_keys @ sampling.key).to(d_x.dtype)
    return Sampling(
        key=d_all_keys.flatten(0, 1).t() @ keys.picked.flatten(0, 1),
        key_bias=d_keys.sum((0, 1)),
        query=filters.flatten(0, 1).t() @ d_matrix.flatten(0, 1),
        query_bias=d_offset.flatten() @ filters.flatten(0, 1),
        gain=(d_filters * keys.values).sum((0, 2)),
    )


def _by_pixel(x: Tensor) -> Tensor:
    """x (b, c, h, w) as (b, h w, c), a view in both memory formats."""
    return x.flatten(2).transpose(1, 2)
