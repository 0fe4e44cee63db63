"""What can go wrong when a file of a prepared set is read: damage, or that it only may not be read."""

from __future__ import annotations

import errno
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attnorm.errors import UserError


class DamagedError(UserError):
    """Something of a prepared folder is missing or wrong; `problem` is the sentence without its remedy."""

    def __init__(self, file: Path, problem: str) -> None:
        self.problem = f"{file} {problem}"
        super().__init__(f"{self.problem}: remove the folder and prepare the set again")


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Around what reads one file of a prepared set.

    Raises:
        DamagedError: it is missing, or is something that could be read without end, such as a pipe.
        UserError: it may be whole, but may not be read, or not now; no reason to remove it.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise DamagedError(file, "is not a regular file")
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(file, "is missing") from None
    except OSError as error:
        raise unreadable(file, error) from error


def unreadable(path: Path, error: OSError) -> UserError:
    """The sentence about something that is there and that the system does not let us read."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        remedy = "allow more with `ulimit -n`, as a set keeps a file open for each of its shards"
    else:
        remedy = "see to it that you may read it"
    return UserError(f"cannot read {path} ({error.strerror or error}): {remedy}")
