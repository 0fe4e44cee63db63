"""Standing statistics: batch-norm moments measured anew for the weights that will be sampled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


@torch.no_grad()
def measure_standing_statistics(network: nn.Module, forward: Callable[[int], object], batches: int) -> None:
    """Replaces the running moments of every batch norm by their true average over some batches.

    The moving average that training keeps belongs to the raw weights of the last steps, not to an average of weights.
    `forward(i)` runs the network on batch i. Only the batch norms are in training mode meanwhile: spectral norm and
    self-sampling stay as in sampling.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    for index in range(batches):
        forward(index)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
