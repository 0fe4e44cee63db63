"""Time and memory of calls that take turns, so that a change of the machine's mood hits all alike."""

from __future__ import annotations

import ctypes
import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

SAMPLE_SECONDS = 0.02  # a sample of a quick call is so many calls that it lasts this long
HOPELESS = 10  # times the limit
MOST_CALLS = 50
MEGABYTE = 1 << 20
MEMORY_SHARE = 0.8  # of what is free may be taken by a call that says how much it needs

Call = Callable[[], object]


@dataclass(frozen=True)
class Contestant:
    """A call to measure; bytes_needed is the least memory that it takes, where that is much.

    memory: the megabytes that a call takes, where it runs in another process and this one cannot see it.
    """

    name: str
    call: Call
    bytes_needed: int = 0
    memory: Callable[[], float | None] | None = None


@dataclass(frozen=True)
class Figure:
    """What was measured of one contestant: seconds a call, and megabytes beside its inputs; or why it was not.

    times: the seconds of every round, in their order, which the contestants of one run share.
    """

    name: str
    median: float | None = None
    quartiles: tuple[float, float] | None = None
    samples: int = 0
    calls_per_sample: int = 0
    memory: float | None = None
    skipped: str | None = None
    times: tuple[float, ...] = ()


def measure(
    contestants: Sequence[Contestant],
    *,
    rounds: int,
    limit: float,
    device: torch.device,
    expected: Mapping[str, float] | None = None,
) -> list[Figure]:
    """Medians over `rounds` rounds, in each of which every contestant has one sample; peak memory of a further call.

    Args:
        limit: a contestant whose call takes longer than so many seconds is not called again.
        expected: seconds a call, where known beforehand; contestants over the limit are skipped.
    """
    expected = expected or {}
    refused = {c.name: reason for c in contestants if (reason := _refusal(c, expected.get(c.name, 0.0), limit, device))}
    entered = [c for c in contestants if c.name not in refused]
    first = {c.name: _first_call(c.call, limit, device) for c in entered}
    quick = [c for c in entered if first[c.name] <= limit]
    calls = {c.name: max(1, min(MOST_CALLS, math.ceil(SAMPLE_SECONDS / first[c.name]))) for c in quick}
    samples: dict[str, list[float]] = {c.name: [] for c in quick}
    for _ in range(rounds):
        for c in quick:
            samples[c.name].append(_seconds(c.call, calls[c.name], device))
    gc.collect()  # what waits to be collected is not what a call takes
    figures = []
    for c in contestants:
        if c.name in refused:
            figures.append(Figure(c.name, skipped=refused[c.name]))
        elif c.name not in samples:
            memory = None if c.memory is None else c.memory()  # what the first call took is known
            figures.append(Figure(c.name, first[c.name], None, 1, 1, memory))
        else:
            low, median, high = statistics.quantiles(samples[c.name], n=4) if rounds > 1 else samples[c.name] * 3
            memory = peak_memory(c.call, device) if c.memory is None else c.memory()
            times = tuple(samples[c.name])
            figures.append(Figure(c.name, median, (low, high), rounds, calls[c.name], memory, times=times))
    return figures


def _refusal(contestant: Contestant, expected: float, limit: float, device: torch.device) -> str | None:
    free = free_memory(device)
    if free is not None and contestant.bytes_needed > MEMORY_SHARE * free:
        return f"needs {contestant.bytes_needed / MEGABYTE:,.0f} MB, of {free / MEGABYTE:,.0f} free"
    return f"would take about {expected:,.0f} s a call" if expected > limit else None


def _first_call(call: Call, limit: float, device: torch.device) -> float:
    """Seconds of a call after one that warms up, and may build what it needs; of that one where it is hopeless."""
    slow = _seconds(call, 1, device)
    return slow if slow > HOPELESS * limit else _seconds(call, 1, device)


def _seconds(call: Call, calls: int, device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    for _ in range(calls):
        call()
    _wait(device)
    return (time.perf_counter() - start) / calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(call: Call, device: torch.device) -> float | None:
    """Megabytes that a call takes at its height beside what is there before it; None where that cannot be known."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / MEGABYTE
    if sys.platform != "linux":
        return None
    try:
        ctypes.CDLL(None).malloc_trim(0)  # memory that was freed, but is kept for later, would hide what the call takes
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    except (OSError, AttributeError):  # a sandbox without it, a C library without malloc_trim
        return None
    kept = call()  # the result is part of the price
    peak = _status("VmHWM")
    del kept
    return max(0.0, (peak - before) / 1024)


def _status(name: str) -> int:
    """A figure of this process in KB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def free_memory(device: torch.device) -> int | None:
    """Bytes, or None where that is not to be known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
