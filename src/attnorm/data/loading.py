"""From whatever `--data` names to an open data set of the size that a preset needs, or to a summary of it."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from attnorm.config import nearest
from attnorm.data.builtin import BUILTIN, load_builtin
from attnorm.data.choice import DEFAULT, Choice
from attnorm.data.dataset import ImageDataset, is_prepared, open_prepared, read_info
from attnorm.data.prepare import prepare
from attnorm.data.raw import RawSource
from attnorm.data.sources import HUB, fingerprint, open_source
from attnorm.errors import UserError

_KEY_LENGTH = 16


def load(source: str, size: int, *, cache: Path) -> ImageDataset:
    """Opens a built-in set by name, a prepared folder, or a raw set; UserError if that is not possible.

    Raw images are prepared once into a subfolder of `cache`, whose name changes with the source's files.
    """
    if source in BUILTIN:
        return load_builtin(source, size)
    check_exists(source)
    path = Path(source)
    if is_prepared(path):
        dataset = open_prepared(path)
        if dataset.size != size:
            raise UserError(
                f"{path} was prepared at {dataset.size}×{dataset.size} but the preset needs {size}×{size}:"
                f" run attnorm data prepare SRC OUT --size {size}"
            )
        return dataset
    key = fingerprint(source, size, DEFAULT)
    report = prepare(source, cache / f"{path.resolve().stem}-{size}-{key[:_KEY_LENGTH]}", size)
    for line in report.notices:
        print(line, file=sys.stderr)
    return open_prepared(report.path)


def summarize(source: str, choice: Choice = DEFAULT) -> tuple[RawSource, int | None]:
    """A built-in set, a prepared folder or a raw set without its images; and the side of images that have one."""
    if source in BUILTIN:
        builtin = load_builtin(source, size=1)
        return RawSource("built-in set", builtin.class_names, builtin.labels, lambda: iter(())), None
    check_exists(source)
    if is_prepared(path := Path(source)):
        dataset, info = open_prepared(path), read_info(path)
        return RawSource(
            "prepared folder", info.class_names, dataset.labels, lambda: iter(()), (), info.skipped
        ), info.size
    return open_source(source, choice), None


def place_of(source: str) -> str | Path:
    """What `source` names, however it is spelled: a built-in set or one on the Hub by its name, or an absolute path."""
    return source if source in BUILTIN or str(source).startswith(HUB) else Path(source).resolve()


def check_exists(source: str | Path) -> None:
    """Raises UserError, with the built-in set that may have been meant, if there is nothing at `source`."""
    if str(source).startswith(HUB):
        return
    with suppress(OSError, ValueError):  # a name that no file can have
        if Path(source).exists():
            return
    kinds = f"a folder, an archive, parquet file(s), {HUB}ORGANISATION/NAME or a built-in set ({', '.join(BUILTIN)})"
    raise UserError(f"there is nothing at {source}{nearest(str(source), BUILTIN)} (give {kinds})")
