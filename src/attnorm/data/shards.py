"""The parts that a prepared set may be written in, by several jobs at a time. One without shards has one part."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from attnorm.data.reading import unreadable
from attnorm.errors import UserError

MOST_SHARDS = 512  # each is a mapped file that stays open, and a process may often open no more than 1024

SHARD_PATTERN = "shard-*-of-*"  # for people; what is a shard is decided by its whole name
_NAME = re.compile(r"shard-([0-9]{5})-of-([0-9]{5})(\.partial-.*)?", re.DOTALL)


class Share(NamedTuple):
    """Part `number`, counted from 0, of the `of` parts of a set."""

    number: int = 0
    of: int = 1

    def __str__(self) -> str:
        return f"shard {self.number} of {self.of}"

    def rows(self, count: int) -> range:
        """Which of the `count` pictures of a raw set, in their order, it is made of: parts are stretches of it."""
        return range(count * self.number // self.of, count * (self.number + 1) // self.of)

    def folder(self, out: Path) -> Path:
        """Where it is in the folder of the set: that folder itself, or one inside."""
        return out if self.of == 1 else out / f"shard-{self.number:05}-of-{self.of:05}"


WHOLE = Share()


def share_called(name: str) -> Share | None:
    """The shard whose folder, finished or being written, has this name; None if it is not the name of one."""
    match = _NAME.fullmatch(name)
    share = Share(int(match[1]), int(match[2])) if match else WHOLE
    return share if 1 < share.of <= MOST_SHARDS and share.number < share.of else None


def parts_in(folder: Path) -> list[tuple[Share, Path]]:
    """Which shards, finished or being written, the folder of a set holds, and where, in order; none if it is no folder.

    Raises:
        UserError: it may not be read.
    """
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(folder, error) from error
    return sorted((share, path) for path in paths if (share := share_called(path.name)))


def shares_in(folder: Path) -> list[Share]:
    """The finished shards in the folder of a set, by their names, in order."""
    return [share for share, path in parts_in(folder) if path == share.folder(folder)]


def leftovers_in(folder: Path) -> list[Path]:
    """What is, or was, being written of shards that are finished: of a second job, or of one that was cut off."""
    finished = {share.folder(folder) for share in shares_in(folder)}
    return [path for share, path in parts_in(folder) if path not in finished and share.folder(folder) in finished]


def chosen_shares(shards: int, shard: int | None) -> list[Share]:
    """All shards of a set, or the one with the number `shard`.

    Raises:
        UserError: there cannot be so many, or there is none with that number.
    """
    if not 1 <= shards <= MOST_SHARDS:
        limit = "at least 1" if shards < 1 else f"at most {MOST_SHARDS}"
        raise UserError(f"the number of shards must be {limit}, not {shards}")
    if shard is None:
        return [Share(number, shards) for number in range(shards)]
    if not 0 <= shard < shards:
        raise UserError(f"there is no shard {shard} of {shards}: they are counted from 0, so the last is {shards - 1}")
    return [Share(shard, shards)]
