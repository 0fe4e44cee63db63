"""Several processes that measure together: who this one is, and how what they hold is brought together.

Without a process group everything here describes one process alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed

from attnorm.errors import UserError

RANKS = ("WORLD_SIZE", "RANK", "LOCAL_RANK")  # what torchrun numbers processes by
_NOT_SET = "-1"  # stands for that, in some launchers and in Accelerate
_MOST, _LARGEST_PORT = 1_000_000, (1 << 16) - 1
_MOST_DIGITS, _LONGEST_SHOWN = 9, 100


def launched_count() -> int:
    """How many processes a launcher has started together, as its variables say; 1 without a launcher.

    Raises:
        UserError: the variables do not say it, or not which of them this one is and where they meet.
    """
    alone = not _is_set("WORLD_SIZE") or _number("WORLD_SIZE", 1) == 1
    if alone and not _is_set("LOCAL_RANK"):
        return 1
    count = _number("WORLD_SIZE", 1)
    _number("RANK", 0, count - 1)
    _number("MASTER_PORT", 0, _LARGEST_PORT)
    if _is_set("LOCAL_RANK"):  # without GPUs it is not needed
        _number("LOCAL_RANK", 0)
    if not os.environ.get("MASTER_ADDR"):
        raise _not_launched("MASTER_ADDR is not set")
    return count


@contextmanager
def meeting() -> Iterator[None]:
    """For the call that joins the processes that a launcher has started: what keeps them apart is one sentence.

    Raises:
        UserError: the launcher's variables are wrong, or the processes do not find each other.
    """
    launched_count()
    try:
        yield
    except RuntimeError as error:
        if not lost_another(error):
            raise
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"the processes cannot meet at {place} ({reason}): see that all are started and can reach that machine, "
            "and that nothing else uses the port"
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
        UserError: there is no CUDA to share, the processes do not find each other, or another one has ended, after
            which the next exchange fails.
    """
    if launched_count() == 1 or not distributed.is_available():
        yield device
        return
    on_cuda = device.startswith("cuda")
    if on_cuda:
        if not torch.cuda.is_available():
            raise UserError(f"PyTorch cannot use the device {device!r} here: choose cpu")
        device = f"cuda:{_number('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    with meeting():
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


def check_alike(facts: Mapping[str, Any], remedy: str) -> None:
    """Refuses to go on where the processes of a group do not have the same. All must call it together.

    Args:
        facts: what must be the same in all of them, under names for people.
        remedy: what to do about a difference.

    Raises:
        UserError: in all processes alike, with the first thing that is not the same.
    """
    _, count = rank_and_count()
    if count == 1:
        return
    every = [dict[str, Any]() for _ in range(count)]
    distributed.all_gather_object(every, dict(facts))
    for rank, other in enumerate(every):
        for name in [*every[0], *other]:
            if every[0].get(name) != other.get(name):
                first, second = (_shown(each.get(name)) for each in (every[0], other))
                raise UserError(
                    f"the processes do not do the same: {name} is {first} in process 0 and {second} in process {rank}: "
                    f"{remedy}"
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


def _is_set(name: str) -> bool:
    return os.environ.get(name, _NOT_SET) != _NOT_SET


def _number(name: str, least: int, most: int = _MOST) -> int:
    if not _is_set(name):
        raise _not_launched(f"{name} is not set")
    text = os.environ[name]
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else -1
    if not least <= number <= most:
        raise _not_launched(f"{name} is {text[:_LONGEST_SHOWN]!r}, and must be a number from {least} to {most}")
    return number


def _not_launched(problem: str) -> UserError:
    return UserError(
        f"the environment does not say which processes work together: {problem}: start several with torchrun, or unset "
        f"{', '.join(RANKS)}"
    )


def _shown(fact: Any) -> str:
    text = "not there" if fact is None else str(fact)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
