"""Writes a prepared folder, or one shard of it: all of it or nothing."""

from __future__ import annotations

import glob
import io
import json
import os
import platform
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from attnorm.data.manifest import (
    FORMAT,
    IMAGES_FILE,
    INFO_FILE,
    LABELS_FILE,
    VERSION,
    check_class_names,
    check_no_class_lost,
    is_prepared,
    read_info,
)
from attnorm.data.shards import WHOLE, Share
from attnorm.errors import UserError
from attnorm.files import make_folder, sync_folder


class PreparedWriter:
    """Appends pictures to `OUT.partial-MACHINE-PID`, which becomes OUT on `commit`; of a shard, inside of OUT.

    A context manager: leaving it without a commit, by an exception or not, removes the partial folder.
    """

    def __init__(self, out: Path, size: int, class_names: tuple[str, ...], share: Share = WHOLE) -> None:
        check_class_names(class_names)
        self._share = share
        self._out = out = share.folder(out)
        self._partial = out.with_name(f"{out.name}.partial-{platform.node()}-{os.getpid()}")
        self.size = size
        self._class_names = class_names
        self._labels: list[int] = []
        self._images_crc32 = 0
        self._made: list[Path] = []  # folders that were not there before, the innermost first
        self._skipped: list[tuple[str, str, int]] = []

    def __enter__(self) -> PreparedWriter:
        with self._writing():
            parents = (self._partial.parent, *self._partial.parent.parents)
            self._made = [each for each in parents if not each.exists()]
            make_folder(self._partial.parent)
            self._remove_leftovers()
            self._partial.mkdir()
            self._images = (self._partial / IMAGES_FILE).open("wb")
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):  # on a full disk; whatever was committed is flushed already
            self._images.close()
        self._remove_partial()
        for folder in self._made:
            with suppress(OSError):  # something is in it, at best what was committed
                folder.rmdir()

    def append(self, image: np.ndarray, label: int) -> None:
        """Adds one picture, (size, size, 3) uint8, of class `label`."""
        if image.shape != (self.size, self.size, 3) or image.dtype != np.uint8:
            raise ValueError(f"not a picture of side {self.size}: {image.shape} {image.dtype}")
        pixels = np.ascontiguousarray(image).data
        with self._writing():
            self._images.write(pixels)
        self._images_crc32 = zlib.crc32(pixels, self._images_crc32)
        self._labels.append(label)

    def skip(self, name: str, reason: str, label: int) -> None:
        """Notes that the picture `name` of class `label` could not be used."""
        self._skipped.append((name, reason, label))

    @property
    def count(self) -> int:
        """How many pictures were appended."""
        return len(self._labels)

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """The name of each picture that could not be used, with the reason."""
        return [(name, reason) for name, reason, _ in self._skipped]

    def commit(self, source: str, fingerprint: str, options: Mapping[str, object] | None = None) -> None:
        """Makes the set, or the shard, durable under its name.

        source: what it was made from, for people to read.
        fingerprint: differs if the set was made from other files or in another way; all shards of a set have one.
        options: of the command line that makes it again, without those that are None.

        Raises UserError if no picture is left, or none of a class that had some; of shards, opening the set finds out.
        """
        counts = np.bincount(np.array(self._labels, dtype=np.int64), minlength=len(self._class_names))
        skipped_labels = [label for _, _, label in self._skipped]
        if self._share == WHOLE:
            check_no_class_lost(self._out, self._class_names, counts, self.skipped, skipped_labels)
        labels = io.BytesIO()
        np.save(labels, np.array(self._labels, dtype=np.int64))
        info = {
            "format": FORMAT,
            "version": VERSION,
            "shard": self._share.number,
            "shards": self._share.of,
            "size": self.size,
            "count": self.count,
            "class_names": self._class_names,
            "class_counts": counts.tolist(),
            "source": source,
            "options": {name: str(value) for name, value in (options or {}).items() if value is not None},
            "fingerprint": fingerprint,
            "crc32": {IMAGES_FILE: self._images_crc32, LABELS_FILE: zlib.crc32(labels.getbuffer())},
            "skipped": self.skipped,
            "skipped_labels": skipped_labels,
        }
        with self._writing():
            _sync(self._images)
            self._images.close()
            with (self._partial / LABELS_FILE).open("wb") as file:
                file.write(labels.getbuffer())
                _sync(file)
            with (self._partial / INFO_FILE).open("w", encoding="utf-8") as text:
                json.dump(info, text, indent=1)  # in ASCII: the name of a file need not be text that has an encoding
                _sync(text)
            try:
                self._partial.rename(self._out)
            except OSError:  # OUT has appeared meanwhile, which is well if another process made the same set
                if not is_prepared(self._out) or read_info(self._out).fingerprint != fingerprint:
                    raise
            sync_folder(self._out.parent)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write {self._out} ({error.strerror or error}): make room or choose another OUT"
            ) from error

    def _remove_leftovers(self) -> None:
        """Removes what killed processes of this machine have left, also one that had our number."""
        start = f"{self._out.name}.partial-{platform.node()}-"
        for path in self._partial.parent.glob(f"{glob.escape(start)}*"):
            number = path.name.removeprefix(start)
            if path == self._partial or (number.isdigit() and not _alive(int(number))):
                shutil.rmtree(path)

    def _remove_partial(self) -> None:
        if self._partial.exists():
            shutil.rmtree(self._partial)


def _alive(pid: int) -> bool:
    """Whether a process with this number exists; where the system cannot say without harm, it may."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
