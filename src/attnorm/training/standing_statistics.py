"""Standing statistics: the moments of batches measured anew for the weights that will be sampled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from attnorm.layers import AttentiveNorm2d


@torch.no_grad()
def measure_standing_statistics(network: nn.Module, forward: Callable[[int], object], batches: int) -> None:
    """Replaces the running moments of every batch norm, and of every AttentiveNorm2d with statistics="batch", by their
    true average over some batches.

    The moving average that training keeps belongs to the raw weights of the last steps, not to an average of weights.
    `forward(i)` runs the network on batch i. Only the layers measured are in training mode meanwhile: spectral norm and
    self-sampling stay as in sampling.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    regional = [m for m in network.modules() if isinstance(m, AttentiveNorm2d) and m.statistics == "batch"]
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    kept = [(layer.momentum, layer.self_sampling) for layer in regional]
    for layer in regional:
        layer.training, layer.self_sampling = True, False  # not `train()`, which would reach spectral norm inside
    for index in range(batches):
        for layer in regional:
            layer.momentum = 1 / (index + 1)  # a cumulative average
        forward(index)
    for layer, (momentum_before, sampling) in zip(regional, kept, strict=True):
        layer.training, layer.momentum, layer.self_sampling = False, momentum_before, sampling
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
