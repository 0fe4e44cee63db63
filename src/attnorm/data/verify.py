"""Whether the files of a prepared set are still what was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attnorm.data.manifest import DamagedError, PreparedInfo, read_set, with_remedy
from attnorm.data.progress import track
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
        try:
            found = crc32_of(info.folder / name)
        except OSError as error:
            raise UserError(f"cannot read {info.folder / name} ({error.strerror or error})") from error
        if found != expected:
            with with_remedy(info):
                raise DamagedError(info.folder / name, "is not what was written: its checksum is another")


def _files(path: Path) -> Iterator[tuple[PreparedInfo, str, int]]:
    for info in read_set(path):
        if not info.crc32:
            raise UserError(
                f"{info.folder} has no checksums, being of an earlier version: prepare it again to have them"
            )
        for name, expected in info.crc32.items():
            yield info, name, expected
