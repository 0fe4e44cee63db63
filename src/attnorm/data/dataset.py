"""A labelled picture set in memory or in a memory map, and opening a prepared folder.

A prepared folder holds `images.u8` (count·size·size·3 raw bytes, row-major RGB), `labels.npy` (count int64)
and `dataset.json` (what the two are). `attnorm.data.writer` writes it; this module reads it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnorm.errors import UserError

FORMAT = "attnorm-images"
VERSION = 1
IMAGES_FILE = "images.u8"
LABELS_FILE = "labels.npy"
INFO_FILE = "dataset.json"


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """N square RGB pictures with one class each.

    images: (N, S, S, 3) uint8, 0..255, usually a read-only memory map.
    labels: (N,) int64, 0..num_classes-1.
    class_names: one distinct name per class.
    file: what `images` maps, if it maps one.

    Raises UserError if they do not fit together.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    file: Path | None = None

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
            raise UserError(f"pictures must be (N, S, S, 3) uint8, not {shape} {self.images.dtype}")
        if self.labels.dtype != np.int64 or self.labels.shape != shape[:1]:
            raise UserError(
                f"{shape[0]} pictures need as many int64 labels, not {self.labels.shape} {self.labels.dtype}"
            )
        check_class_names(self.class_names)
        if len(self) and not 0 <= self.labels.min() <= self.labels.max() < self.num_classes:
            raise UserError(
                f"labels run from {self.labels.min()} to {self.labels.max()} but there are {self.num_classes}"
                " classes, numbered from 0"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """The side of the pictures in pixels."""
        return self.images.shape[1]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def class_counts(self) -> np.ndarray:
        """(num_classes,) int64: how many pictures each class has."""
        return np.bincount(self.labels, minlength=self.num_classes)

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pictures (B, S, S, 3) uint8 and labels (B,) int64 at `indices` (B,), as fresh arrays.

        Raises UserError if the mapped file has another length by now: to read on would end the process (SIGBUS).
        One that was removed is whole until it is closed.
        """
        if self.file is not None:
            with suppress(FileNotFoundError):
                length = self.file.stat().st_size
                if length != self.images.nbytes:
                    raise _damaged(self.file, f"had {self.images.nbytes} bytes and has {length} now")
        return self.images[indices], self.labels[indices]


@dataclass(frozen=True)
class PreparedInfo:
    """What `dataset.json` says about the files beside it.

    skipped: (name, reason) of each picture that preparing the set left out.
    fingerprint: a text that differs if the set was made from other files or in another way.
    """

    size: int
    count: int
    class_names: tuple[str, ...]
    skipped: list[tuple[str, str]]
    fingerprint: str


def check_class_names(names: tuple[str, ...]) -> None:
    """Raises UserError if there is no class or two classes share a name."""
    if not names:
        raise UserError("a picture set needs at least one class")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(f"class names must differ, but {repeated[0]!r} is used {names.count(repeated[0])} times")


def is_prepared(path: Path) -> bool:
    """Whether `path` is, or was meant to be, a prepared folder.

    A damaged one counts too, so that opening it names the damage instead of taking it for raw pictures.
    """
    if (path / IMAGES_FILE).exists():
        return True
    try:
        return json.loads((path / INFO_FILE).read_text("utf-8"))["format"] == FORMAT
    except (OSError, ValueError, LookupError, TypeError):  # no such file, no JSON, or another program's
        return False


def read_info(path: Path) -> PreparedInfo:
    """The contents of a prepared folder's `dataset.json`; UserError if they are not usable."""
    file = path / INFO_FILE
    try:
        info = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise _damaged(file, "is missing") from None
    except (OSError, ValueError) as error:
        raise _damaged(file, f"cannot be read ({error})") from error
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise _damaged(file, "does not describe a prepared picture set")
    if info.get("version") != VERSION:
        raise _damaged(file, f"has version {info.get('version')} and this attnorm reads version {VERSION}")
    try:
        skipped = [(str(name), str(reason)) for name, reason in info["skipped"]]
        names = tuple(map(str, info["class_names"]))
        size, count = int(info["size"]), int(info["count"])
        if min(size, count) < 1:
            raise ValueError(f"{count} pictures of side {size}")
        return PreparedInfo(size, count, names, skipped, str(info["fingerprint"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, f"lacks something or holds nonsense ({error})") from error


def open_prepared(path: str | Path) -> ImageDataset:
    """Opens a prepared folder as a read-only memory map.

    Raises UserError, naming the file and the remedy, if anything is missing, cut short or contradictory.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a prepared folder: make one with attnorm data prepare")
    info = read_info(folder)
    labels = _read_labels(folder / LABELS_FILE, info.count)
    images = _map_images(folder / IMAGES_FILE, info.count, info.size)
    try:
        return ImageDataset(images, labels, info.class_names, folder / IMAGES_FILE)
    except UserError as error:
        raise _damaged(folder, f"contradicts itself ({error})") from error


def _read_labels(file: Path, count: int) -> np.ndarray:
    try:
        labels = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise _damaged(file, "is missing") from None
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(file, f"cannot be read ({error})") from error
    if labels.dtype != np.int64 or labels.shape != (count,):
        raise _damaged(file, f"holds {labels.shape} {labels.dtype} labels, not {count} of int64")
    labels.setflags(write=False)
    return labels


def _map_images(file: Path, count: int, size: int) -> np.ndarray:
    shape = (count, size, size, 3)
    expected = count * size * size * 3
    try:
        length = file.stat().st_size
    except FileNotFoundError:
        raise _damaged(file, "is missing") from None
    if length != expected:
        raise _damaged(file, f"has {length} bytes, not the {expected} of {count} pictures at {size}×{size}")
    # A plain view: indexing a np.memmap would make every batch a np.memmap too, at a cost per batch.
    return np.asarray(np.memmap(file, dtype=np.uint8, mode="r", shape=shape))


def _damaged(file: Path, problem: str) -> UserError:
    return UserError(f"{file} {problem}: remove the folder and prepare the set again")
