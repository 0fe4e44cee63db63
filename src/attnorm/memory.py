"""How much memory this machine has, to refuse what cannot fit before any of it is taken."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from attnorm.errors import UserError

# What a container may use, in the second and the first version of Linux's control groups.
CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
GIGABYTE = 1e9


def machine_memory() -> float:
    """Bytes that a process may hope for: the machine's, or fewer in a container; infinite where neither is known."""
    found = [float("inf")]
    with suppress(AttributeError, ValueError, OSError):  # not every system has these names
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for file in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # there is no such file, or it says "max"
            found.append(float(file.read_text(encoding="ascii")))
    return min(found)


def check_memory(need: float, what: str, remedy: str) -> None:
    """Raises UserError if `what` needs more bytes than this machine has; `remedy` says what to do instead."""
    there = machine_memory()
    if need > there:
        raise UserError(
            f"{what} would take at least {need / GIGABYTE:,.1f} GB, more than this machine's "
            f"{there / GIGABYTE:,.1f} GB of memory: {remedy}"
        )
