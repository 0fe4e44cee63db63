"""The averaged generator: an exponential moving average (EMA) of the weights, with standing statistics."""

import copy
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from attnorm.layers import AttentiveNorm2d

Network = TypeVar("Network", bound=nn.Module)


class EMA(Generic[Network]):
    """Averages parameters with a half-life in images, and copies buffers.

    Buffers are copied: an average of singular vectors of spectral norm is not a singular vector, and moments of batch
    norm are averages already.

    Args:
        half_life: images after which an old weight counts half; 0 for a plain copy.
        ramp_up: the half-life is at most this fraction of the images seen before the batch, as in StyleGAN2-ADA, so
            that early weights are soon forgotten; the first update copies. 0 for the full half-life from the start.
    """

    def __init__(self, module: Network, half_life: float, ramp_up: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.half_life, self.ramp_up = half_life, ramp_up

    @torch.no_grad()
    def update(self, module: Network, images_seen: int, batch_size: int) -> None:
        """Updates the average after an optimizer step. `images_seen` does not count the step's batch."""
        half_life = self.half_life
        if self.ramp_up:
            half_life = min(half_life, images_seen * self.ramp_up)
        decay = 0.5 ** (batch_size / half_life) if half_life > 0 else 0.0
        averages, weights = list[Tensor](self.module.parameters()), list[Tensor](module.parameters())
        torch._foreach_lerp_(averages, weights, 1 - decay)
        copies, buffers = list(self.module.buffers()), list(module.buffers())
        if copies:  # foreach functions take no empty lists
            torch._foreach_copy_(copies, buffers)


@torch.no_grad()
def measure_standing_statistics(network: nn.Module, forward: Callable[[int], object], batches: int) -> None:
    """Measures the running moments of every batch norm, and of every AttentiveNorm2d with statistics="batch", as the
    average over some batches; `forward(i)` runs the network on batch i.

    The moving averages of training belong to the raw weights of the last steps, not to averaged weights. Only the
    measured layers are in training mode: spectral norm and self-sampling behave as in sampling.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    regional = [m for m in network.modules() if isinstance(m, AttentiveNorm2d) and m.statistics == "batch"]
    measured: list[Any] = [*norms, *regional]
    momenta, sampling = [layer.momentum for layer in measured], [layer.self_sampling for layer in regional]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
    for layer in regional:
        layer.self_sampling = False
    for layer in measured:
        layer.training = True  # not `train()`, which would include spectral norm inside it
    for index in range(batches):
        for layer in measured:
            # A cumulative average. With None a batch norm reads its counter, which synchronizes.
            layer.momentum = 1 / (index + 1)
        forward(index)
    for layer, momentum in zip(measured, momenta, strict=True):
        layer.training, layer.momentum = False, momentum
    for layer, samples in zip(regional, sampling, strict=True):
        layer.self_sampling = samples
