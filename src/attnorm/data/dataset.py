"""A labelled picture set in memory or in memory maps, and opening a prepared folder.

A prepared folder holds `images.u8` (count·size·size·3 raw bytes, row-major RGB), `labels.npy` (count int64)
and `dataset.json` (what the two are), or a folder of these three for each of its shards.
`attnorm.data.writer` writes it; this module reads it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnorm.data.manifest import (
    IMAGES_FILE,
    LABELS_FILE,
    PreparedInfo,
    check_class_names,
    check_no_class_lost,
    read_set,
    with_remedy,
)
from attnorm.data.reading import DamagedError, reading, unreadable
from attnorm.errors import UserError


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """N square RGB pictures with one class each.

    images: (N, S, S, 3) uint8, 0..255, usually a read-only memory map; of shards, something that is read by rows.
    labels: (N,) int64, 0..num_classes-1.
    class_names: one distinct name per class.
    info: the description of the files that `images` maps, if it is one map.

    Raises UserError if they do not fit together.
    """

    images: np.ndarray | JoinedImages
    labels: np.ndarray
    class_names: tuple[str, ...]
    info: PreparedInfo | None = None

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

    def checksum(self) -> int:
        """CRC-32 of all labels and of 64 pictures spread over the set: the same however the set is kept, and different
        for other pictures, but for changes between those 64. Raises UserError as `batch` does.
        """
        images, _ = self.batch(np.unique(np.linspace(0, len(self) - 1, 64).astype(np.int64)))
        return zlib.crc32(images.tobytes(), zlib.crc32(self.labels.tobytes()))

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pictures (B, S, S, 3) uint8 and labels (B,) int64 at `indices` (B,), as fresh arrays.

        Raises UserError if the mapped file has another length by now: to read on would end the process (SIGBUS).
        One that was removed is whole until it is closed.
        """
        if self.info is not None:
            file, expected = self.info.folder / IMAGES_FILE, len(self) * self.size**2 * 3
            try:
                length = file.stat().st_size
            except FileNotFoundError:
                length = expected
            except OSError as error:
                raise unreadable(file, error) from error
            if length != expected:
                with with_remedy(self.info):
                    raise DamagedError(file, f"had {expected} bytes and has {length} now")
        return self.images[indices], self.labels[indices]


class JoinedImages:
    """The pictures of several sets, one set after another, as one (N, S, S, 3) uint8 that is read by rows.

    Only the sets that some of the rows are in are touched.
    """

    def __init__(self, parts: Sequence[ImageDataset]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.shape: tuple[int, ...] = (int(self._ends[-1]), parts[0].size, parts[0].size, 3)
        self.dtype = np.dtype(np.uint8)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The pictures (B, S, S, 3) at `rows` (B,), each in 0..N-1, as a fresh array; UserError as in `batch`."""
        rows = np.asarray(rows)
        if rows.size and not 0 <= rows.min() <= rows.max() < self.shape[0]:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self.shape[0]} pictures")
        images = np.empty((len(rows), *self.shape[1:]), self.dtype)
        numbers = np.searchsorted(self._ends, rows, side="right")
        for number in np.unique(numbers):
            part, here = self._parts[number], numbers == number
            images[here], _ = part.batch(rows[here] - (self._ends[number] - len(part)))
        return images


def open_prepared(path: str | Path) -> ImageDataset:
    """Opens a prepared folder as read-only memory maps: one of each shard, or the one of a set without shards.

    The pictures and their order do not depend on the number of shards.

    Raises UserError, naming the file and the remedy, if anything is missing, cut short or contradictory.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a prepared folder: make one with attnorm data prepare")
    return open_set(folder, read_set(folder))


def open_set(folder: Path, infos: Sequence[PreparedInfo]) -> ImageDataset:
    """As `open_prepared`, of the parts that `read_set` found in the folder."""
    parts = list(map(open_part, infos))
    if len(parts) == 1:
        return parts[0]
    labels = np.concatenate([part.labels for part in parts])
    labels.setflags(write=False)
    names = infos[0].class_names
    skipped = [one for info in infos for one in info.skipped]
    of = [label for info in infos for label in info.skipped_labels]
    check_no_class_lost(folder, names, np.bincount(labels, minlength=len(names)), skipped, of)
    return ImageDataset(JoinedImages(parts), labels, names)


def open_part(info: PreparedInfo) -> ImageDataset:
    """The pictures of one shard, or of a set without shards.

    Raises UserError, naming the file, the remedy and in a sharded set the command, if they are damaged.
    """
    with with_remedy(info):
        return _map(info)


def _map(info: PreparedInfo) -> ImageDataset:
    labels = _read_labels(info.folder / LABELS_FILE, info.count)
    images = _map_images(info.folder / IMAGES_FILE, info.count, info.size)
    try:
        return ImageDataset(images, labels, info.class_names, info)
    except UserError as error:
        raise DamagedError(info.folder, f"contradicts itself ({error})") from error


def _read_labels(file: Path, count: int) -> np.ndarray:
    try:
        with reading(file), file.open("rb") as stream:
            labels = np.lib.format.read_array(stream, allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:
        raise DamagedError(file, f"cannot be read ({error})") from error
    if labels.dtype != np.int64 or labels.shape != (count,):
        raise DamagedError(file, f"holds {labels.shape} {labels.dtype} labels, not {count} of int64")
    labels.setflags(write=False)
    return labels


def _map_images(file: Path, count: int, size: int) -> np.ndarray:
    shape = (count, size, size, 3)
    expected = count * size * size * 3
    with reading(file):
        length = file.stat().st_size
        if length != expected:
            raise DamagedError(file, f"has {length} bytes, not the {expected} of {count} pictures at {size}×{size}")
        if count == 0:  # of a shard: an empty file cannot be mapped
            return np.empty(shape, dtype=np.uint8)
        # A plain view: indexing a np.memmap would make every batch a np.memmap too, at a cost per batch.
        return np.asarray(np.memmap(file, dtype=np.uint8, mode="r", shape=shape))
