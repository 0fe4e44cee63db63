"""Whether the files of a prepared set are still what was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attnorm.data.manifest import PreparedInfo, read_set, with_remedy
from attnorm.data.progress import track
from attnorm.data.reading import DamagedError, reading
from attnorm.errors import UserError
from attnorm.files import crc32_of


def verify(path: Path, *, progress: bool = True) -> None:
    """Reads every file of a prepared set and compares its checksum; opening a set compares lengths alone.

    Raises:
        UserError: one is not what was written, and how to make it again; or the set was written before there were
            checksums.
    """
    files = list(_files(path))
    for info, name, expected in track(files, f"reading {path.name}", len(files), show=progress):
        file = info.folder / name
        with with_remedy(info):
            with reading(file):
                found = crc32_of(file)
            if found != expected:
                raise DamagedError(file, "is not what was written: its checksum is another")


def _files(path: Path) -> Iterator[tuple[PreparedInfo, str, int]]:
    for info in read_set(path):
        if not info.crc32:
            raise UserError(
                f"{info.folder} has no checksums, being of an earlier version: prepare it again to have them"
            )
        for name, expected in info.crc32.items():
            yield info, name, expected
