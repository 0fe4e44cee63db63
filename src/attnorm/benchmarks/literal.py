"""The contestants that are written down as they are defined: what the fast forms are measured against."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnorm.layers import AttentiveNorm2d, SelfAttention2d


def literal_regional_norm(v: Tensor, s: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Eq. 5 line by line on a (b, c, n, h, w) tensor; weight and bias (n, c)."""
    v, s = v.unsqueeze(2), s.unsqueeze(1)
    mass = s.sum((-2, -1), keepdim=True)
    mean = (s * v).sum((-2, -1), keepdim=True) / mass
    deviation = ((s * (v - mean).square()).sum((-2, -1), keepdim=True) / mass).sqrt()
    normalised = (v - mean) / (deviation + 1e-5)
    if weight is not None and bias is not None:
        normalised = normalised * weight.t()[None, :, :, None, None] + bias.t()[None, :, :, None, None]
    return (normalised * s).sum(2)


class LiteralAttentiveNorm(nn.Module):
    """The layer as the paper writes it down: every convolution on the whole map, F of eq. 2, Algorithm 1."""

    def __init__(self, layer: AttentiveNorm2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        logits = layer.entities(x)
        if self.training and layer.self_sampling:
            keys = functional.max_pool2d(layer.key(x), layer.pool_size).flatten(2)
            positions = torch.rand(len(x), 1, keys.shape[2], device=x.device).topk(layer.num_entities, dim=2).indices
            filters = keys.gather(2, positions.expand(-1, keys.shape[1], -1))
            correlation = (filters.transpose(1, 2) @ layer.query(x).flatten(2)).unflatten(2, x.shape[2:])
            logits = logits + layer.sampling_gain.view(1, -1, 1, 1) * correlation
        layout = torch.softmax(layer.temperature * logits, dim=1)
        return layer.residual_gain * literal_regional_norm(layer.value(x), layout, layer.weight, layer.bias) + x


class NaiveSelfAttention(nn.Module):
    """SA-GAN's layer with its attention matrix."""

    def __init__(self, layer: SelfAttention2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        query = layer.query(x).flatten(2)
        key, value = (functional.max_pool2d(conv(x), 2).flatten(2) for conv in (layer.key, layer.value))
        attention = torch.softmax(query.transpose(1, 2) @ key, dim=-1)
        mixed = (value @ attention.transpose(1, 2)).unflatten(2, x.shape[2:])
        return layer.residual_gain * layer.out(mixed) + x
