"""From whatever `--data` names to an open data set of the size that a preset needs, or to a summary of it."""

from __future__ import annotations

import difflib
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnorm.data.builtin import BUILTIN, load_builtin
from attnorm.data.dataset import ImageDataset, is_prepared, open_prepared, read_info
from attnorm.data.prepare import check_size, prepare
from attnorm.data.sources import fingerprint, open_source
from attnorm.errors import UserError

_KEY_LENGTH = 16


@dataclass(frozen=True)
class Summary:
    """A data set in numbers.

    kind: "built-in set", "prepared folder", "folder of images" or "parquet".
    size: the side of the images in pixels, or None if they are not at one size yet.
    classes: how many images each class has, in class order.
    skipped: (name, reason) of each image that preparing it left out.
    """

    path: str
    kind: str
    count: int
    size: int | None
    classes: dict[str, int]
    skipped: list[tuple[str, str]]


def load(source: str, size: int, *, cache: Path) -> ImageDataset:
    """Opens a built-in set by name, a prepared folder, a raw folder, or parquet file(s).

    Raw images are prepared once into a subfolder of `cache`, whose name changes with the source's files, and mapped
    from there.

    Raises:
        UserError: there is no such set, it is damaged, or it was prepared at another size.
    """
    check_size(size)
    if source in BUILTIN:
        return load_builtin(source, size)
    path = Path(source)
    check_exists(path)
    if is_prepared(path):
        dataset = open_prepared(path)
        if dataset.size != size:
            raise UserError(
                f"{path} was prepared at {dataset.size}×{dataset.size} but the preset needs {size}×{size}:"
                f" run attnorm data prepare SRC OUT --size {size}"
            )
        return dataset
    key = fingerprint(path, size, None, None)
    report = prepare(path, cache / f"{path.resolve().stem}-{size}-{key[:_KEY_LENGTH]}", size)
    if not report.reused:
        for line in report.notices():
            print(line, file=sys.stderr)
    return open_prepared(report.path)


def summarize(source: str, *, image_column: str | None = None, label_column: str | None = None) -> Summary:
    """Describes a built-in set, a prepared folder or raw images, without decoding an image.

    Args:
        image_column, label_column: for parquet, where the schema does not tell.

    Raises:
        UserError: `source` is none of these or is damaged.
    """
    if source in BUILTIN:
        builtin = BUILTIN[source]
        return _summary(source, "built-in set", builtin.labels(), builtin.class_names)
    path = Path(source)
    check_exists(path)
    if is_prepared(path):
        dataset, info = open_prepared(path), read_info(path)
        return _summary(source, "prepared folder", dataset.labels, dataset.class_names, info.size, list(info.skipped))
    raw = open_source(path, image_column=image_column, label_column=label_column)
    return _summary(source, raw.kind, raw.labels, raw.class_names)


def place_of(source: str) -> str | Path:
    """What `source` names, however it is spelled: a built-in set's name, or an absolute path."""
    return source if source in BUILTIN else Path(source).resolve()


def check_exists(path: Path) -> None:
    """Raises UserError, with the built-in set that may have been meant, if there is nothing at `path`."""
    with suppress(OSError, ValueError):  # a name that no file can have
        if path.exists():
            return
    close = difflib.get_close_matches(str(path), BUILTIN, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]!r}, or " if close else "give "
    kinds = f"a folder, parquet file(s) or a built-in set ({', '.join(BUILTIN)})"
    raise UserError(f"there is nothing at {path}: {meant}{kinds}")


def _summary(
    path: str,
    kind: str,
    labels: np.ndarray,
    names: tuple[str, ...],
    size: int | None = None,
    skipped: list[tuple[str, str]] | None = None,
) -> Summary:
    counts = np.bincount(labels, minlength=len(names)).tolist()
    return Summary(path, kind, len(labels), size, dict(zip(names, counts, strict=True)), skipped or [])
