"""Raw picture sets: what is in a folder or in parquet files, as a stream of undecoded pictures."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from attnorm.data.reading import unreadable
from attnorm.errors import UserError

PICTURE_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
PARQUET_EXTENSION = ".parquet"


class RawPicture(NamedTuple):
    """An undecoded picture: a name to report it by, its bytes or its file, and its class."""

    name: str
    encoded: bytes | Path
    label: int


@dataclass(frozen=True)
class RawSource:
    """A raw picture set: what it is made of, its classes, and `read` to stream its pictures.

    labels: (N,) int64, the class of each picture, known before any picture is read.
    stream: gives the pictures of a stretch of 0..N-1, in order.
    """

    kind: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    stream: Callable[[range], Iterator[RawPicture]]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: range | None = None) -> Iterator[RawPicture]:
        """The pictures in order, all or those of a stretch of 0..N-1."""
        return self.stream(range(len(self)) if rows is None else rows)


def open_source(path: str | Path, *, image_column: str | None = None, label_column: str | None = None) -> RawSource:
    """Looks at a class-per-folder tree, a plain folder of pictures, or parquet file(s).

    The two column names apply to parquet only. Raises UserError if there is nothing usable at `path`.
    """
    path = Path(path)
    files = list_files(path)
    if files[0].suffix.lower() == PARQUET_EXTENSION:
        from attnorm.data.parquet import open_parquet

        return open_parquet(files, image_column=image_column, label_column=label_column)
    if image_column or label_column:
        raise UserError(f"{path} is a folder of pictures and has no columns: leave the column options out")
    return _open_folder(path, files)


def list_files(path: Path) -> list[Path]:
    """The files that make up the raw set at `path`, sorted: all pictures or all parquet, never none."""
    if path.is_file() and path.suffix.lower() == PARQUET_EXTENSION:
        return [path]
    if not path.is_dir():
        problem = "is neither a folder nor a .parquet file" if path.exists() else "does not exist"
        raise UserError(f"{path} {problem}: give a folder of pictures or parquet files")
    visible = list(_walk(path))
    pictures = [file for file in visible if file.suffix.lower() in PICTURE_EXTENSIONS]
    parquet = [file for file in visible if file.suffix.lower() == PARQUET_EXTENSION]
    if pictures and parquet:
        raise UserError(f"{path} holds both pictures and parquet files ({parquet[0].name}): keep them apart")
    if not pictures and not parquet:
        kinds = " ".join(sorted(kind[1:] for kind in PICTURE_EXTENSIONS))
        raise UserError(f"{path} holds no picture ({kinds}) and no parquet file: give another folder")
    return pictures or parquet


def fingerprint(path: Path, size: int, *options: str | None) -> str:
    """A hexadecimal digest of the source's place, its files' names, sizes and times, and how it is prepared.

    The pictures themselves are not read: a file replaced by one of the same size and time goes unnoticed.
    """
    digest = hashlib.sha256(repr((str(path.resolve()), size, options)).encode())
    for file in list_files(path):
        try:
            status = file.stat()
        except OSError as error:
            raise unreadable(file, error) from error
        digest.update(repr((str(file.relative_to(path)), status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def _open_folder(path: Path, files: list[Path]) -> RawSource:
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not _hidden(entry.name))
    if not folders:
        return _labelled(path, files, (path.resolve().name,), [0] * len(files))
    numbers = {name: number for number, name in enumerate(folders)}
    tops = [file.relative_to(path).parts[0] for file in files]
    loose = [file for file, top in zip(files, tops, strict=True) if top not in numbers]
    if loose:
        raise UserError(f"{loose[0]} lies beside class folders: move it into one of them")
    empty = sorted(set(folders) - set(tops))
    if empty:
        raise UserError(f"class folder {path / empty[0]} holds no picture: fill it or remove it")
    return _labelled(path, files, tuple(folders), [numbers[top] for top in tops])


def _labelled(path: Path, files: list[Path], class_names: tuple[str, ...], labels: list[int]) -> RawSource:
    def stream(rows: range) -> Iterator[RawPicture]:
        for row in rows:
            yield RawPicture(files[row].relative_to(path).as_posix(), files[row], labels[row])

    return RawSource("folder of pictures", class_names, np.array(labels, dtype=np.int64), stream)


def _walk(path: Path) -> Iterator[Path]:
    """All visible files below `path`, sorted within each folder. Links to folders count at the top only."""
    top_folders = []
    for entry in sorted(path.iterdir()):
        if _hidden(entry.name):
            continue
        if entry.is_dir():
            top_folders.append(entry)
        elif entry.is_file():
            yield entry
    for folder in top_folders:
        for parent, subfolders, names in os.walk(folder, onerror=_refuse):
            subfolders[:] = sorted(name for name in subfolders if not _hidden(name))
            yield from (Path(parent, name) for name in sorted(names) if not _hidden(name))


def _refuse(error: OSError) -> NoReturn:
    """A folder that may not be read: to pass it over would lose its pictures without a count."""
    raise unreadable(Path(error.filename), error)


def _hidden(name: str) -> bool:
    return name.startswith(".")
