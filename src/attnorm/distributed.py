"""Several processes that work together: the rank of this one, and how their data are combined.

Without a process group every function describes one process alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed

from attnorm.errors import UserError

LONGEST_SHOWN = 100  # letters of a value in an error


def launched_count() -> int:
    """How many processes torchrun has started together, 1 without it."""
    return max(1, int(os.environ.get("WORLD_SIZE", "1")))


@contextmanager
def meeting() -> Iterator[None]:
    """For the call that joins the processes that torchrun has started.

    Raises:
        UserError: torchrun's variables are incomplete, or the processes do not find each other.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if not lost_another(error) and "environment variable" not in str(error):
            raise
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise UserError(
            f"the processes cannot connect at {place} ({str(error).strip().splitlines()[0]}): start them with torchrun,"
            " and check that all are started, can reach that machine, and that nothing else uses the port"
        ) from error


def rank_and_count() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


@contextmanager
def launched_group(device: str) -> Iterator[str]:
    """Joins the processes that torchrun started, if it did, and gives the device of this one.

    Raises:
        UserError: there is no CUDA to share, the processes do not find each other, or another one has ended.
    """
    if launched_count() == 1 or not distributed.is_available():
        yield device
        return
    on_cuda = device.startswith("cuda")
    if on_cuda:
        if not torch.cuda.is_available():
            raise UserError(f"PyTorch cannot use the device {device!r} here: choose cpu")
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    with meeting():
        distributed.init_process_group("nccl" if on_cuda else "gloo")
    try:
        yield device
        distributed.barrier()  # a process that leaves early breaks the connections of the others
    except RuntimeError as error:
        if not lost_another(error):
            raise
        raise UserError(
            f"process {distributed.get_rank()} has lost another process of its group, whose own message says why: fix"
            " that and start again"
        ) from error
    finally:
        distributed.destroy_process_group()


def lost_another(error: Exception) -> bool:
    """Whether an exchange failed because another process of the group has ended."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def check_alike(facts: Mapping[str, Any], remedy: str) -> None:
    """Refuses to go on if the processes of a group differ. All must call it together.

    Args:
        facts: what must be the same in all processes, by readable names.
        remedy: what to do about a difference.

    Raises:
        UserError: in all processes alike, with the first difference.
    """
    _, count = rank_and_count()
    if count == 1:
        return
    every = [dict[str, Any]() for _ in range(count)]
    distributed.all_gather_object(every, dict(facts))
    for rank, other in enumerate(every):
        for name in [*every[0], *other]:
            if every[0].get(name) != other.get(name):
                first, second = (str(each.get(name, "missing"))[:LONGEST_SHOWN] for each in (every[0], other))
                raise UserError(
                    f"the processes differ: {name} is {first} in process 0 and {second} in process {rank}: {remedy}"
                )


@contextmanager
def first_process_first() -> Iterator[None]:
    """The first process runs the body, then the others do: for work whose result stays on disk."""
    rank, count = rank_and_count()
    if count > 1 and rank > 0:
        distributed.barrier()
    yield
    if count > 1 and rank == 0:
        distributed.barrier()


def anywhere(condition: bool) -> bool:
    """Whether it holds in any process; the same answer in all of them."""
    if rank_and_count()[1] == 1:
        return condition
    return bool(add_up(torch.tensor(int(condition))).item())


def add_up(value: Tensor) -> Tensor:
    """The sum of all processes' values, on the device of this one's."""
    total = for_exchange(value)
    distributed.all_reduce(total)
    return total.to(value.device)


def gather_rows(rows: Tensor) -> Tensor:
    """The rows (n, …) of all processes, each with its own n, in the order of their ranks; on the CPU."""
    rows = for_exchange(rows)
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(rank_and_count()[1])]
    distributed.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    most = int(max(count.item() for count in counts))
    padded = rows.new_zeros((most, *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(parts, padded)
    return torch.cat([part[: int(count.item())] for part, count in zip(parts, counts, strict=True)]).cpu()


def for_exchange(value: Tensor) -> Tensor:
    """A copy on a device that the group's backend can use."""
    return value.to("cuda" if distributed.get_backend() == "nccl" else "cpu", copy=True)
