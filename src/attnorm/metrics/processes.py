"""Several processes that measure together: who this one is, and how what they hold is brought together.

Without a process group everything here describes one process alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from attnorm.errors import UserError

RANKS = ("WORLD_SIZE", "RANK", "LOCAL_RANK")  # what torchrun numbers processes by
_REMEDY = f"start several with torchrun, or unset {', '.join(RANKS)}"


def rank_and_count() -> tuple[int, int]:
    """This process's rank and the number of processes."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def launched_count() -> int:
    """How many processes torchrun started, by the environment that it gives to each; 1 without it.

    Raises:
        UserError: the variables of the environment are not those that torchrun sets.
    """
    found = {name: os.environ[name] for name in (*RANKS, "MASTER_ADDR", "MASTER_PORT") if name in os.environ}
    for name in RANKS:
        if not (number := found.get(name, "0")).isdecimal() and number != "-1":  # which stands for one process, too
            raise UserError(f"the environment says {name}={number!r}, which is no number: {_REMEDY}")
    size, rank = int(found.get("WORLD_SIZE", "1")), int(found.get("RANK", "-1"))
    if size > 1 or int(found.get("LOCAL_RANK", "-1")) >= 0:
        needed = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")
        missing = [name for name in needed if found.get(name, "-1") in ("", "-1")]
        if missing:
            raise UserError(f"the environment speaks of several processes, but has no {missing[0]}: {_REMEDY}")
        if rank >= size or not found["MASTER_PORT"].isdecimal():
            wrong = "MASTER_PORT" if rank < size else "RANK"
            raise UserError(f"the environment says WORLD_SIZE={size} and {wrong}={found[wrong]!r}: {_REMEDY}")
    return size


@contextmanager
def launched_group(device: str) -> Iterator[str]:
    """Joins the processes that torchrun started, if it did, and gives the device of this one.

    Raises:
        UserError: as `launched_count`; there is no CUDA to share; or another process has ended, after which the next
            exchange fails.
    """
    if launched_count() <= 1 or not distributed.is_available():
        yield device
        return
    on_cuda = device.startswith("cuda")
    if on_cuda:
        if not torch.cuda.is_available():
            raise UserError(f"PyTorch cannot use the device {device!r} here: choose cpu")
        if "LOCAL_RANK" not in os.environ:
            raise UserError(f"the environment speaks of several processes, but has no LOCAL_RANK: {_REMEDY}")
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_cuda else "gloo")
    try:
        yield device
        distributed.barrier()  # who leaves early breaks the connections of the others
    except RuntimeError as error:
        if not lost_another(error):
            raise
        raise UserError(
            f"process {distributed.get_rank()} has lost another one of its group, which says why if it could; then "
            "start again, with as many processes or with another number"
        ) from error
    finally:
        distributed.destroy_process_group()


def lost_another(error: RuntimeError) -> bool:
    """Whether an exchange failed because another process of the group has ended."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


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
    flag = for_exchange(torch.tensor(int(condition)))
    distributed.all_reduce(flag)
    return bool(flag.item())


def add_up(value: Tensor) -> Tensor:
    """The sum of all processes' values, where the value of this one was."""
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
    """A copy where the group's backend can reach it."""
    return value.to("cuda" if distributed.get_backend() == "nccl" else "cpu", copy=True)
