"""One run, one training: who trains holds a lock in the run's folder, and a second one is refused."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attnorm.errors import UserError, one_line
from attnorm.files import make_folder

LOCK = ".lock"
_LONGEST_HOLDER = 300  # bytes


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Inside, no other training writes to the run's folder, which is made where it is not there yet.

    The system takes the lock back when the process ends, however it ends: a killed one leaves the file alone, which
    means nothing. Where there are no locks (Windows, some network file systems) nobody is refused.

    Raises:
        UserError: another process trains there, or the folder cannot be made.
    """
    try:
        make_folder(run)
    except OSError as error:
        raise UserError(
            f"cannot write {run} ({error.strerror or error}): choose a folder that can be written"
        ) from error
    descriptor = _opened(run / LOCK)
    try:
        if descriptor is not None:
            _take(descriptor, run)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # a full or read-only disk, of which whoever writes next says more
        return None


def _take(descriptor: int, run: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.read(descriptor, _LONGEST_HOLDER).decode(errors="replace").strip()
        raise UserError(
            f"{run} is being trained by {one_line(said) or 'another process'}: wait for its end, or stop it first"
        ) from None
    except OSError:  # a file system without locks
        return
    with suppress(OSError):  # on a full disk the next one is told less
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} of {platform.node()}\n".encode())
