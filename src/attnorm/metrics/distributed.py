"""The processes of torchrun: joining, gathering, and ending together.

Without a process group, functions behave as in a single process.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from attnorm.data.progress import track
from attnorm.errors import UserError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Processes:
    """This process in its group; `Processes(device)` is a single process."""

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Waits for all processes."""
        if self.count > 1:
            distributed.barrier()

    def all_reduce(self, value: Tensor, op: distributed.ReduceOp.RedOpType = distributed.ReduceOp.SUM) -> Tensor:
        """Reduces a tensor over the processes, in place."""
        if self.count > 1:
            distributed.all_reduce(value, op)
        return value

    def share_gradients(self, network: nn.Module) -> nn.Module:
        """The network, wrapped to average gradients if there are several processes."""
        if self.count == 1:
            return network
        # DDP warns of weights with a side of 1, whose memory orders are the same, and of an argument's old name.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view|`broadcast_buffers` is deprecated")
        devices = None if self.device.type == "cpu" else [self.device]
        # False, by position because PyTorch has renamed it: broadcast buffers would change what backward reads.
        return DistributedDataParallel(network, devices, None, 0, False)

    def without_sharing(self, network: nn.Module) -> AbstractContextManager[Any]:
        """A context in which the backward pass of a shared network does not exchange gradients."""
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Joins the processes that torchrun started, if it did, and leaves them at the end.

    Raises a UserError if they cannot connect, or if another process has ended and an exchange fails.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes(torch.device(device))
        return
    if on_cuda := device.startswith("cuda"):
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    try:
        distributed.init_process_group("nccl" if on_cuda else "gloo")
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"the processes cannot connect ({reason}): start them with torchrun, all with one port"
        ) from error
    try:
        yield Processes(torch.device(device), *rank_and_count())
        distributed.barrier()  # a process that leaves early breaks the connections of the others
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        raise UserError(
            f"process {distributed.get_rank()} has lost another process of its group, whose message says why: fix "
            "that, then start or resume again"
        ) from error
    finally:
        distributed.destroy_process_group()


def rank_and_count() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


@contextmanager
def main_first() -> Iterator[None]:
    """Runs the body in the main process first, then in the others: for files that one writes and all read."""
    rank, count = rank_and_count()
    if rank > 0:
        distributed.barrier()
    yield
    if rank == 0 and count > 1:
        distributed.barrier()


def gather(value: Any) -> list[Any]:
    """The values of all processes, in the order of their ranks."""
    every = [value] * rank_and_count()[1]
    if len(every) > 1:
        distributed.all_gather_object(every, value)
    return every


def share_work(
    work: Callable[[int], Result], items: range, title: str, show_progress: bool = False
) -> Iterator[Result]:
    """The results of all items in their order: processes take turns at the work, and all get all results."""
    rank, count = rank_and_count()
    turns = range(0, len(items), count)
    for turn in track(turns, title, len(turns), show=show_progress and rank == 0):
        own = [work(item) for item in items[turn : turn + count][rank : rank + 1]]  # maybe none in the last turn
        yield from chain.from_iterable(gather(own))


def check_alike(facts: Mapping[str, Any], remedy: str) -> None:
    """Raises a UserError in all processes if a fact, by its readable name, differs between them."""
    first, *others = gather(dict(facts))
    for rank, other in enumerate(others, 1):
        for name, fact in first.items():
            if fact != other[name]:
                raise UserError(
                    f"the processes differ: {name} is {fact} in process 0 and {other[name]} in process {rank}: {remedy}"
                )
