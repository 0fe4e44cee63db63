"""A labelled set of square images in memory or in a memory map, and opening the prepared folder that is mapped.

A prepared folder holds `images.u8` (count * size * size * 3 raw bytes, row-major RGB), `labels.npy` (count int64) and
`dataset.json` (a PreparedInfo). `attnorm.data.prepare` writes it; this module reads it.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import Field

from attnorm.config import Frozen, read_json
from attnorm.errors import UserError
from attnorm.files import crc32_of, explained

VERSION: Final = 2
IMAGES_FILE, LABELS_FILE, INFO_FILE = "images.u8", "labels.npy", "dataset.json"
LARGEST_SIZE = 4096  # pixels a side, more than any network here takes


class PreparedInfo(Frozen):
    """`dataset.json`: what the files beside it are.

    size: side of the images in pixels.
    source: what the set was made from, for people.
    fingerprint: identifies the source files and how they were prepared.
    skipped: (name, reason) of each image that could not be decoded.
    """

    version: Literal[2]
    size: int = Field(ge=1, le=LARGEST_SIZE)
    count: int = Field(ge=1)
    class_names: tuple[str, ...]
    source: str
    fingerprint: str
    images_crc32: int
    labels_crc32: int
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """N square RGB images with one class each.

    images: (N, S, S, 3) uint8, usually a read-only memory map.
    labels: (N,) int64, 0..num_classes-1.
    class_names: one distinct name per class.
    file: what `images` maps, if it is a map.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    file: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """The side of the images in pixels."""
        return int(self.images.shape[1])

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def checksum(self) -> int:
        """CRC-32 of all labels and of 64 images spread over the set; UserError as `batch`."""
        images, _ = self.batch(np.unique(np.linspace(0, len(self) - 1, 64).astype(np.int64)))
        return zlib.crc32(images.tobytes(), zlib.crc32(self.labels.tobytes()))

    def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The images (B, S, S, 3) uint8 and labels (B,) int64 at `indices` (B,), as fresh arrays."""
        if self.file is not None and self.file.exists():  # a removed file stays mapped
            _check_length(self.file, self.images.nbytes)  # else reading a truncated file ends the process
        return self.images[indices], self.labels[indices]


def is_prepared(path: Path) -> bool:
    """Whether `path` is a prepared folder, perhaps a damaged one."""
    return (path / IMAGES_FILE).exists() or (path / LABELS_FILE).exists()


def read_info(folder: Path) -> PreparedInfo:
    """The `dataset.json` of a prepared folder; UserError if it is missing or invalid."""
    return read_json(PreparedInfo, folder / INFO_FILE)


def open_prepared(folder: str | Path) -> ImageDataset:
    """Opens a prepared folder as a read-only memory map; UserError if files are missing or contradict each other."""
    folder = Path(folder)
    file = folder / IMAGES_FILE
    try:
        info = read_info(folder)
        with explained(f"{folder / LABELS_FILE} cannot be read", "", ValueError, EOFError):
            labels = np.load(folder / LABELS_FILE, allow_pickle=False)
        labels.setflags(write=False)
        _check_length(file, info.count * info.size**2 * 3)
        # A plain view: indexing a np.memmap would make every batch a np.memmap too, at a cost per batch.
        images = np.asarray(np.memmap(file, dtype=np.uint8, mode="r", shape=(info.count, info.size, info.size, 3)))
        return ImageDataset(images, labels, info.class_names, file)
    except (OSError, UserError) as error:
        raise UserError(f"{folder} is damaged ({error}): remove it and prepare the set again") from error


def verify(folder: Path) -> PreparedInfo:
    """The `dataset.json` of a prepared folder; UserError if its files have other checksums than when it was written."""
    info = read_info(folder)
    for name, expected in ((IMAGES_FILE, info.images_crc32), (LABELS_FILE, info.labels_crc32)):
        if crc32_of(folder / name) != expected:
            raise UserError(f"{folder / name} has another checksum than when it was written: prepare the set again")
    return info


def _check_length(file: Path, expected: int) -> None:
    if (length := file.stat().st_size) != expected:
        raise UserError(f"{file} has {length} bytes, not {expected}")
