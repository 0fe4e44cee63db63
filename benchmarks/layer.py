"""`attnorm bench layer` with a lower bound and with the papers' literal forms: python benchmarks/layer.py [--help].

"arithmetic" is that of the layer's matrix products alone, see floor.py. "literal" is eq. 5 line by line,
with its (b, c, n, h, w) tensor. "naive" self-attention builds the (h w) x (h w / 4) matrix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from cyclopts import App, Parameter
from floor import Mode, layer_arithmetic, operator_arithmetic
from torch import Tensor, nn
from torch.nn import functional as F

from attnorm.bench import Call, LayerSettings, layer_calls, layer_inputs, run_layer
from attnorm.layers import AttentiveNorm2d, SelfAttention2d

MOST_BYTES = 4 << 30  # forms that need more memory for one call are left out

app = App(default_parameter=Parameter(consume_multiple=True, negative=""))


@app.default
def main(
    *,
    sizes: tuple[int, ...] = (128, 256, 512, 1024),
    batch: int = 1,
    channels: int = 32,
    entities: int = 16,
    dtype: Literal["float32", "bfloat16"] = "float32",
    rounds: int = 15,
    limit: float = 2.0,
    literal: bool = False,
    json: Path | None = None,
) -> None:
    """Measures the layer and its alternatives on square maps.

    Args:
        sizes: sides of the maps in pixels.
        limit: calls that take longer, in seconds, are not tried on larger maps.
        literal: also measure the layers as the papers write them.
        json: file to write.
    """
    settings = LayerSettings(
        sizes=sizes,
        batch=batch,
        channels=channels,
        entities=entities,
        dtype=dtype,
        rounds=rounds,
        limit=limit,
    )
    run_layer(settings, calls_with_literal if literal else calls_with_arithmetic, json)


def calls_with_arithmetic(settings: LayerSettings, size: int, mode: str) -> dict[str, Call]:
    """`layer_calls`, and what a call of the layer, or of `regional_norm`, has to multiply."""
    pixels, c, n, dtype = (
        settings.batch * size * size,
        settings.channels,
        settings.entities,
        getattr(torch, settings.dtype),
    )
    kind: Mode = "training" if mode == "training" else "forward"
    return layer_calls(settings, size, mode) | {
        "arithmetic": layer_arithmetic(pixels, c, n, kind, dtype, dtype),
        "regional_norm arithmetic": operator_arithmetic(pixels, c, n, kind, dtype),
    }


def calls_with_literal(settings: LayerSettings, size: int, mode: str) -> dict[str, Call]:
    """`layer_calls`, and the literal and naive forms that fit in memory."""
    x, layout, call = layer_inputs(settings, size, mode)
    training, pixels, values = mode == "training", size * size, x.numel()
    calls = calls_with_arithmetic(settings, size, mode)
    if (7 if training else 3) * values * settings.entities * 4 <= MOST_BYTES:
        layer = AttentiveNorm2d(settings.channels, settings.entities, self_sampling=settings.entities <= pixels // 4)
        calls["regional_norm literal"] = call(literal_regional_norm, x, layout)
        calls["AttentiveNorm2d literal"] = call(LiteralAttentiveNorm(layer), x)
    if (5 if training else 2) * settings.batch * pixels * (pixels // 4) * x.itemsize <= MOST_BYTES:
        calls["SelfAttention2d naive"] = call(NaiveSelfAttention(SelfAttention2d(settings.channels)), x)
    return calls


def literal_regional_norm(v: Tensor, s: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Eq. 5 line by line; v (b, c, h, w), s (b, n, h, w), weight and bias (n, c)."""
    v, s = v.unsqueeze(2), s.unsqueeze(1)
    mass = s.sum((-2, -1), keepdim=True)
    mean = (s * v).sum((-2, -1), keepdim=True) / mass
    std = ((s * (v - mean).square()).sum((-2, -1), keepdim=True) / mass).sqrt()
    normalized = (v - mean) / (std + 1e-5)
    if weight is not None and bias is not None:
        normalized = normalized * weight.t()[None, :, :, None, None] + bias.t()[None, :, :, None, None]
    return (normalized * s).sum(2)


class LiteralAttentiveNorm(nn.Module):
    """The layer as the paper writes it: every convolution on the whole map, F of eq. 2, Algorithm 1."""

    def __init__(self, layer: AttentiveNorm2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        logits = layer.entities(x)
        if self.training and layer.self_sampling:
            keys = F.max_pool2d(layer.key(x), layer.pool_size).flatten(2)
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
        key, value = (F.max_pool2d(conv(x), 2).flatten(2) for conv in (layer.key, layer.value))
        attention = torch.softmax(query.transpose(1, 2) @ key, dim=-1)
        mixed = (value @ attention.transpose(1, 2)).unflatten(2, x.shape[2:])
        return layer.residual_gain * layer.out(mixed) + x


if __name__ == "__main__":
    app()
