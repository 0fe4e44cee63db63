"""An exponential moving average of a network's weights, for sampling."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class EMA(Generic[Network]):
    """Averages parameters with a half-life in pictures, and copies buffers.

    Buffers are copied because an average of the singular vectors of spectral norm is no singular vector, and batch-norm
    moments are averages already.

    Args:
        module: the trained network; the average starts as its copy.
        half_life: pictures after which an old weight counts half; 0 keeps a plain copy.
        ramp_up: the half-life is at most this share of the pictures seen before the batch, so that early weights are
            soon forgotten, as in StyleGAN2-ADA: the first update copies. 0 for the full half-life from the start.
    """

    def __init__(self, module: Network, half_life: float, ramp_up: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.half_life, self.ramp_up = half_life, ramp_up

    @torch.no_grad()
    def update(self, module: Network, pictures_seen: int, batch_size: int) -> None:
        """Call after each optimiser step; `pictures_seen` does not count its batch."""
        half_life = self.half_life
        if self.ramp_up:
            half_life = min(half_life, pictures_seen * self.ramp_up)
        decay = 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0
        averages: list[Tensor] = list(self.module.parameters())
        weights: list[Tensor] = list(module.parameters())
        if averages:  # the foreach functions refuse empty lists
            torch._foreach_lerp_(averages, weights, 1 - decay)
        copies, buffers = list(self.module.buffers()), list(module.buffers())
        if copies:
            torch._foreach_copy_(copies, buffers)
