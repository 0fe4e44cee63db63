"""Convolutions, linear layers and embeddings with the field's initial weights.

Glorot uniform, by default with gain sqrt(2) for 3x3 convolutions, as in the SN-GAN code. The weights are set before
spectral normalisation is attached: afterwards `.weight` is a computed value, and writing to it is lost.
"""

from __future__ import annotations

import math

from torch import nn

from attnorm.layers.spectral import spectral_norm as with_spectral_norm


def make_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = True,
    spectral_norm: bool = False,
    gain: float | None = None,
) -> nn.Conv2d:
    """A convolution that divides the map's size by `stride`, rounding up; kernel_size is odd."""
    if gain is None:
        gain = math.sqrt(2) if kernel_size > 1 else 1.0
    padding = dilation * (kernel_size // 2)
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias)
    nn.init.xavier_uniform_(conv.weight, gain=gain)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return with_spectral_norm(conv) if spectral_norm else conv


def make_linear(in_features: int, out_features: int, *, spectral_norm: bool = False) -> nn.Linear:
    linear = nn.Linear(in_features, out_features)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return with_spectral_norm(linear) if spectral_norm else linear


def make_embedding(num_embeddings: int, dim: int, *, spectral_norm: bool = False) -> nn.Embedding:
    embedding = nn.Embedding(num_embeddings, dim)
    nn.init.xavier_uniform_(embedding.weight)
    return with_spectral_norm(embedding) if spectral_norm else embedding
