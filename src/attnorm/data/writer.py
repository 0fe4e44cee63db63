"""Writes a prepared folder: all of it or nothing."""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from attnorm.data.dataset import IMAGES_FILE, INFO_FILE, LABELS_FILE, VERSION, PreparedInfo, check_class_names
from attnorm.errors import UserError
from attnorm.files import explained, make_folder, swap_in


class PreparedWriter:
    """Appends images to `OUT.partial`, which becomes OUT on `commit`.

    A context manager: leaving it without a commit removes what it made. One process at a time writes to an OUT;
    another one waits when it enters.
    """

    def __init__(self, out: Path, size: int, class_names: tuple[str, ...]) -> None:
        check_class_names(class_names)
        self.size = size
        self.skipped: list[tuple[str, str]] = []  # (name, reason)
        self._out = out
        self._partial = out.with_name(f"{out.name}.partial")
        self._lock = FileLock(out.with_name(f".{out.name}.lock"))
        self._class_names = tuple(map(_as_utf8, class_names))
        self._labels: list[int] = []
        self._crc32 = 0
        self._first_skipped: dict[int, tuple[str, str]] = {}  # by class

    @property
    def count(self) -> int:
        """How many images were appended."""
        return len(self._labels)

    def __enter__(self) -> PreparedWriter:
        with self._writing():
            self._made = [folder for folder in self._out.parents if not folder.exists()]  # the innermost first
            make_folder(self._out.parent)
            self._acquire()
            try:
                shutil.rmtree(self._partial, ignore_errors=True)  # of a process that was killed
                self._partial.mkdir()
                self._images = (self._partial / IMAGES_FILE).open("wb")
            except OSError:
                self._clean()
                raise
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):  # a full disk; what was committed is flushed already
            self._images.close()
        self._clean()

    def append(self, image: np.ndarray, label: int) -> None:
        """Adds one image, (size, size, 3) uint8, of class `label`."""
        if image.shape != (self.size, self.size, 3) or image.dtype != np.uint8:
            raise ValueError(f"image must be ({self.size}, {self.size}, 3) uint8, not {image.shape} {image.dtype}")
        pixels = np.ascontiguousarray(image).data
        with self._writing():
            self._images.write(pixels)
        self._crc32 = zlib.crc32(pixels, self._crc32)
        self._labels.append(label)

    def skip(self, name: str, reason: str, label: int) -> None:
        """Records that the image `name` of class `label` could not be used."""
        self.skipped.append((_as_utf8(name), reason))
        self._first_skipped.setdefault(label, (name, reason))

    def commit(self, source: str, fingerprint: str) -> None:
        """Makes the set durable under its name; the arguments are fields of PreparedInfo.

        Raises:
            UserError: no image is left, or none of a class that had some, or the disk is full.
        """
        labels = np.array(self._labels, dtype=np.int64)
        self._check_no_class_lost(labels)
        with self._writing():
            self._images.close()
            np.save(self._partial / LABELS_FILE, labels)
            info = PreparedInfo(
                version=VERSION,
                size=self.size,
                count=self.count,
                class_names=self._class_names,
                source=_as_utf8(source),
                fingerprint=fingerprint,
                images_crc32=self._crc32,
                labels_crc32=zlib.crc32((self._partial / LABELS_FILE).read_bytes()),
                skipped=tuple(self.skipped),
            )
            (self._partial / INFO_FILE).write_text(info.model_dump_json(indent=1), encoding="utf-8")
            if self._out.exists():
                raise FileExistsError(0, "it has appeared meanwhile")
            swap_in(self._partial, self._out)

    def _check_no_class_lost(self, labels: np.ndarray) -> None:
        kept = set(labels.tolist())
        for label, (name, reason) in self._first_skipped.items():
            if label not in kept:
                raise UserError(
                    f"class {self._class_names[label]!r} has no usable image, the first being {name} ({reason}):"
                    " replace its images or remove the class"
                )
        if not kept:
            raise UserError(f"no image for {self._out}: give a source with images")

    def _clean(self) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)
        with suppress(OSError):
            Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()
        for folder in self._made:
            with suppress(OSError):  # not empty: the set is in it
                folder.rmdir()

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=1)
        except Timeout:
            print(f"waiting for another process that prepares {self._out}", file=sys.stderr)
            self._lock.acquire()

    def _writing(self) -> AbstractContextManager[None]:
        return explained(f"cannot write {self._out}", "make room or choose another OUT")


def _as_utf8(name: str) -> str:
    """A file name with the bytes that are not UTF-8 escaped, so that JSON can hold it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
