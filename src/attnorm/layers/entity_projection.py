"""Equations 2 and 3 as one product with the features: the logits of the layout, self-sampled or not.

F of eq. 2 is K q(x), with K the keys of an image at n sampled positions. So t * F + f(x) = (W + t K Q) x + t K b, where
Q and b are the query's weight and bias: small matrices, and neither F, nor the queries, nor the keys at positions that
were not drawn are ever computed.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attnorm.layers.autocast import without_autocast
from attnorm.layers.onlookers import is_transformed


class Sampling(NamedTuple):
    """What self-sampling draws and the weights that it uses.

    pixels: flat positions (b, n, m) of the m pixels pooled at each of the n positions drawn.
    key, key_bias, query, query_bias: (k, c), (k,), (k, c), (k,). gain: t, (n,).
    """

    pixels: Tensor
    key: Tensor
    key_bias: Tensor
    query: Tensor
    query_bias: Tensor
    gain: Tensor


def draw_pixels(x: Tensor, count: int, pool: int, generator: torch.Generator | None) -> Tensor:
    """Positions in the maps x (b, c, h, w) pooled by `pool`, uniform without replacement: the pixels under each,
    (b, count, pool^2)."""
    height, width = x.shape[2:]
    rows, columns = height // pool, width // pool
    scores = torch.rand(x.shape[0], 1, rows * columns, device=x.device, generator=generator)
    positions = scores.topk(count, dim=2).indices.squeeze(1)
    pixels = torch.arange(height * width, device=x.device).view(height, width)[: rows * pool, : columns * pool]
    windows = pixels.unflatten(0, (rows, pool)).unflatten(2, (columns, pool)).transpose(1, 2).reshape(-1, pool * pool)
    return windows[positions]


def entity_projection(x: Tensor, entities: Tensor, sampling: Sampling | None) -> tuple[Tensor, Tensor | None]:
    """Weights and offsets of the logits: (n, c) and None, or for each image (b, n, c) and (b, n).

    x is (b, c, h, w), entities (n, c).
    """
    if sampling is None:
        return entities, None
    picked = pick_pixels(x, sampling.pixels.flatten(1)).unflatten(1, sampling.pixels.shape[1:])
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    with without_autocast(x):
        _, key, key_bias, query, query_bias, gain = sampling
        keys = functional.linear(picked.to(dtype), key.to(dtype), key_bias.to(dtype)).max(2).values
        filters = gain.to(dtype).unsqueeze(1) * keys
        return entities.to(dtype) + filters @ query.to(dtype), filters @ query_bias.to(dtype)


def pick_pixels(x: Tensor, index: Tensor) -> Tensor:
    """The features of x (b, c, h, w) at flat positions (b, m), as (b, m, c); in x's memory format backwards too."""
    if not is_channels_last(x):
        return x.flatten(2).gather(2, index.unsqueeze(1).expand(-1, x.shape[1], -1)).transpose(1, 2)
    rows = x.permute(0, 2, 3, 1).flatten(0, 2)
    return rows.index_select(0, row_numbers(index, x).flatten()).view(*index.shape, -1)


def row_numbers(index: Tensor, x: Tensor) -> Tensor:
    """Flat positions (b, m) in each image of x as positions in all of them."""
    first = torch.arange(x.shape[0], device=x.device) * (x.shape[2] * x.shape[3])
    return index + first.view(-1, *[1] * (index.ndim - 1))


def is_channels_last(x: Tensor) -> bool:
    """Whether a pixel's channels lie side by side; False under transforms, which do not say."""
    if is_transformed():
        return False
    return x.stride(1) == 1 and x.shape[1] > 1 and x.is_contiguous(memory_format=torch.channels_last)
