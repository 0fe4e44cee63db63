"""The processes of a run that torchrun started: joining, taking turns, agreeing, and ending together."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from attnorm.metrics.processes import launched_group, rank_and_count


@dataclass(frozen=True)
class Processes:
    """This process among those of the run; `Processes(device)` is one alone."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def wait(self) -> None:
        """Returns when all processes are here."""
        if self.count > 1:
            distributed.barrier()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """The main process runs the body, then the others do: for files that one writes and all read."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def all_reduce(self, value: Tensor, op: distributed.ReduceOp.RedOpType = distributed.ReduceOp.SUM) -> Tensor:
        """Reduces a tensor over the processes, in place."""
        if self.count > 1:
            distributed.all_reduce(value, op)
        return value

    def share_gradients(self, network: nn.Module) -> nn.Module:
        """What a loss is backpropagated through: with several processes, wrapped to average gradients.

        Buffers are each process's own: broadcasting them between forward and backward would change what backward reads.
        """
        if self.count == 1:
            return network
        # PyTorch has renamed the option.
        arguments = inspect.signature(DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in arguments else "broadcast_buffers"
        # Where a weight has a side of 1, both orders of its memory are one, and DDP takes them for two.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        devices = None if self.device.type == "cpu" else [self.device]
        return DistributedDataParallel(network, device_ids=devices, **{name: False})  # type: ignore[arg-type]

    def without_sharing(self, network: nn.Module) -> AbstractContextManager[Any]:
        """Inside, the backward pass of a shared network leaves gradients in their process."""
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Joins the processes that torchrun started, if it did, and leaves them at the end.

    Raises:
        UserError: they cannot join, or another one has ended, after which the next exchange fails.
    """
    with launched_group(device.type) as own:
        yield Processes(torch.device(own), *rank_and_count())
