"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attnorm.errors import UserError


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; it becomes `path` at the end, and nothing of it is left after a failure.

    Raises:
        OSError: the folder cannot be made, or the file cannot be written or renamed.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    finally:
        with suppress(OSError):  # what went wrong before says more
            partial.unlink(missing_ok=True)


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """As `written_aside`, for a file that the user named.

    Raises:
        UserError: the file cannot be written; the message says why.
    """
    try:
        with written_aside(path) as partial:
            yield partial
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror or error}): make room, or choose another name"
        ) from error


def sync_file(path: Path) -> None:
    """Makes what was written to a file durable."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes a rename in a folder durable; not every system can open a folder for this."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
