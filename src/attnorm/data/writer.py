"""Writes a prepared folder: all of it or nothing."""

from __future__ import annotations

import glob
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from attnorm.data.dataset import (
    FORMAT,
    IMAGES_FILE,
    INFO_FILE,
    LABELS_FILE,
    VERSION,
    check_class_names,
    is_prepared,
    read_info,
)
from attnorm.errors import UserError
from attnorm.files import make_folder, sync_folder


class PreparedWriter:
    """Appends pictures to `OUT.partial-MACHINE-PID`, which becomes OUT on `commit`.

    A context manager: leaving it without a commit, by an exception or not, removes the partial folder.
    """

    def __init__(self, out: Path, size: int, class_names: tuple[str, ...]) -> None:
        check_class_names(class_names)
        self._out = out
        self._partial = out.with_name(f"{out.name}.partial-{platform.node()}-{os.getpid()}")
        self._size = size
        self._class_names = class_names
        self._labels: list[int] = []
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
        if image.shape != (self._size, self._size, 3) or image.dtype != np.uint8:
            raise ValueError(f"not a picture of side {self._size}: {image.shape} {image.dtype}")
        with self._writing():
            self._images.write(np.ascontiguousarray(image).data)
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

    def commit(self, source: str, fingerprint: str) -> None:
        """Makes the set durable under its name.

        source: what it was made from, for people to read.
        fingerprint: differs if the set was made from other files or in another way.

        Raises UserError if no picture is left, or none of a class that had some.
        """
        info = {
            "format": FORMAT,
            "version": VERSION,
            "size": self._size,
            "count": self.count,
            "class_names": self._class_names,
            "class_counts": self._class_counts().tolist(),
            "source": source,
            "fingerprint": fingerprint,
            "skipped": self.skipped,
        }
        with self._writing():
            _sync(self._images)
            self._images.close()
            with (self._partial / LABELS_FILE).open("wb") as file:
                np.save(file, np.array(self._labels, dtype=np.int64))
                _sync(file)
            with (self._partial / INFO_FILE).open("w", encoding="utf-8") as text:
                json.dump(info, text, indent=1, ensure_ascii=False)
                _sync(text)
            try:
                self._partial.rename(self._out)
            except OSError:  # OUT has appeared meanwhile, which is well if another process made the same set
                if not is_prepared(self._out) or read_info(self._out).fingerprint != fingerprint:
                    raise
            sync_folder(self._out.parent)

    def _class_counts(self) -> np.ndarray:
        if not self._labels:
            raise UserError(f"no usable picture for {self._out}: {_all_skipped(self.skipped)}")
        counts = np.bincount(self._labels, minlength=len(self._class_names))
        for label in sorted({label for _, _, label in self._skipped}):
            if counts[label] == 0:
                lost = [(name, reason) for name, reason, of in self._skipped if of == label]
                raise UserError(
                    f"class {self._class_names[label]!r} has no usable picture: {_all_skipped(lost)};"
                    " replace its pictures or remove the class"
                )
        return counts

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


def _all_skipped(skipped: list[tuple[str, str]]) -> str:
    if not skipped:
        return "there was none to begin with"
    name, reason = skipped[0]
    return f"all {len(skipped)} were skipped, the first being {name} ({reason})"


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
