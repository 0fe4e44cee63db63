"""Raw sets: what is in a folder or in parquet files, as a stream of undecoded images.

Another kind of source is a module like `parquet.py`, which returns a RawSource, and a branch in `open_source`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from attnorm.data.dataset import VERSION
from attnorm.errors import UserError

IMAGE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
PARQUET_EXTENSION = ".parquet"


class RawImage(NamedTuple):
    """An undecoded image: a name to report it by, its bytes or its file, and its class."""

    name: str
    encoded: bytes | Path
    label: int


@dataclass(frozen=True)
class RawSource:
    """A raw set.

    kind: what it is, in words.
    class_names: one name per class.
    labels: (N,) int64, the class of each image, known before any image is read.
    read: streams the images in the order of `labels`.
    """

    kind: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    read: Callable[[], Iterator[RawImage]]

    def __len__(self) -> int:
        return len(self.labels)


def open_source(path: Path, *, image_column: str | None = None, label_column: str | None = None) -> RawSource:
    """Looks at a folder per class, a plain folder of images, or parquet file(s).

    Args:
        image_column, label_column: for parquet, where the schema does not tell.

    Raises:
        UserError: there is nothing usable at `path`.
    """
    files = list_files(path)
    if files[0].suffix.lower() == PARQUET_EXTENSION:
        from attnorm.data.parquet import open_parquet

        return open_parquet(files, image_column=image_column, label_column=label_column)
    if image_column or label_column:
        raise UserError(f"{path} is a folder of images and has no columns: leave the column options out")
    return _open_folder(path, files)


def list_files(path: Path) -> list[Path]:
    """The files of the raw set at `path`, sorted: all images or all parquet, never none.

    Raises:
        UserError: there are none, or both.
    """
    if path.is_file() and path.suffix.lower() == PARQUET_EXTENSION:
        return [path]
    if not path.is_dir():
        problem = "is neither a folder nor a .parquet file" if path.exists() else "does not exist"
        raise UserError(f"{path} {problem}: give a folder of images or parquet files")
    visible = list(_walk(path))
    images = [file for file in visible if file.suffix.lower() in IMAGE_EXTENSIONS]
    parquet = [file for file in visible if file.suffix.lower() == PARQUET_EXTENSION]
    if images and parquet:
        raise UserError(f"{path} holds both images and parquet files ({parquet[0].name}): keep them apart")
    if not images and not parquet:
        kinds = " ".join(sorted(kind[1:] for kind in IMAGE_EXTENSIONS))
        raise UserError(f"{path} holds no image ({kinds}) and no parquet file: give another folder")
    return images or parquet


def fingerprint(path: Path, *options: object) -> str:
    """A hexadecimal digest of the source's path, its files' names, sizes and times, and how it is prepared.

    The images are not read: a file replaced by one of the same size and time goes unnoticed.
    """
    digest = hashlib.sha256(repr((VERSION, str(path.resolve()), options)).encode("utf-8", "backslashreplace"))
    for file in list_files(path):
        try:
            status = file.stat()
        except OSError as error:
            _raise(error)
        entry = repr((str(file.relative_to(path)), status.st_size, status.st_mtime_ns))
        digest.update(entry.encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _open_folder(path: Path, files: list[Path]) -> RawSource:
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not _is_hidden(entry.name))
    if not folders:
        return _labelled(path, files, [path.resolve().name], [0] * len(files))
    numbers = {name: number for number, name in enumerate(folders)}
    tops = [file.relative_to(path).parts[0] for file in files]
    loose = [file for file, top in zip(files, tops, strict=True) if top not in numbers]
    if loose:
        raise UserError(f"{loose[0]} lies beside class folders: move it into one of them")
    empty = sorted(set(folders) - set(tops))
    if empty:
        raise UserError(f"class folder {path / empty[0]} holds no image: fill it or remove it")
    return _labelled(path, files, folders, [numbers[top] for top in tops])


def _labelled(path: Path, files: list[Path], class_names: list[str], labels: list[int]) -> RawSource:
    def read() -> Iterator[RawImage]:
        for file, label in zip(files, labels, strict=True):
            yield RawImage(file.relative_to(path).as_posix(), file, label)

    return RawSource("folder of images", tuple(class_names), np.array(labels, dtype=np.int64), read)


def _walk(path: Path) -> Iterator[Path]:
    """All visible files below `path`, sorted within each folder. Links to folders count at the top only."""
    top_folders = []
    for entry in sorted(path.iterdir()):
        if _is_hidden(entry.name):
            continue
        if entry.is_dir():
            top_folders.append(entry)
        elif entry.is_file():
            yield entry
    for folder in top_folders:
        for parent, subfolders, names in os.walk(folder, onerror=_raise):
            subfolders[:] = sorted(name for name in subfolders if not _is_hidden(name))
            yield from (Path(parent, name) for name in sorted(names) if not _is_hidden(name))


def _raise(error: OSError) -> NoReturn:
    """Refuses what cannot be read: skipping it would lose images without a count."""
    raise UserError(f"cannot read {error.filename} ({error.strerror}): allow reading it") from error


def _is_hidden(name: str) -> bool:
    return name.startswith(".")
