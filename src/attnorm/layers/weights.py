"""Convolutions, linear layers and embeddings with the field's initial weights.

Glorot uniform, by default with gain sqrt(2) for 3x3 convolutions, as in the SN-GAN code. The weights are set before
spectral normalization is attached: afterwards `.weight` is a computed value, and writing to it is lost.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from attnorm.layers.spectral import SpectralNorm
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
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Conv2d:
    """A convolution that divides the map's size by `stride`, rounding up; kernel_size is odd."""
    padding = dilation * (kernel_size // 2)
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, dilation, bias=bias, device=device, dtype=dtype
    )
    reset_conv(conv, gain)
    return with_spectral_norm(conv) if spectral_norm else conv


def reset_conv(conv: nn.Conv2d, gain: float | None = None) -> None:
    """Draws the initial weights of `make_conv` again, and under `spectral_norm` its singular vectors."""
    if gain is None:
        gain = math.sqrt(2) if max(conv.kernel_size) > 1 else 1.0
    weight = raw_weight(conv)
    nn.init.xavier_uniform_(weight, gain=gain)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    if parametrize.is_parametrized(conv, "weight"):
        for norm in conv.parametrizations.weight:  # type: ignore[union-attr]
            if isinstance(norm, SpectralNorm):
                norm.reset(weight)


def raw_weight(conv: nn.Module) -> Tensor:
    """The parameter behind `conv.weight`, which is computed from it where the convolution is parametrized."""
    parametrized = parametrize.is_parametrized(conv, "weight")
    weight: Tensor = conv.parametrizations.weight.original if parametrized else conv.weight  # type: ignore[union-attr, assignment]
    return weight


def make_linear(in_features: int, out_features: int, *, spectral_norm: bool = False) -> nn.Linear:
    linear = nn.Linear(in_features, out_features)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return with_spectral_norm(linear) if spectral_norm else linear


def make_embedding(num_embeddings: int, dim: int, *, spectral_norm: bool = False) -> nn.Embedding:
    embedding = nn.Embedding(num_embeddings, dim)
    nn.init.xavier_uniform_(embedding.weight)
    return with_spectral_norm(embedding) if spectral_norm else embedding
