"""From whatever `--data` names to an open picture set of the size that a preset needs."""

from __future__ import annotations

import difflib
import sys
from contextlib import suppress
from pathlib import Path

from attnorm.data.builtin import BUILTIN, load_builtin
from attnorm.data.dataset import ImageDataset, open_prepared
from attnorm.data.manifest import is_prepared
from attnorm.data.prepare import PrepareReport, check_size, prepare, prepare_builtin
from attnorm.data.sources import fingerprint
from attnorm.errors import UserError

_KEY_LENGTH = 16


def load(source: str, size: int, *, cache: Path, workers: int = 1) -> ImageDataset:
    """Opens a built-in set by name, a prepared folder, or a raw folder or parquet file(s).

    Raw pictures and rendered sets are prepared once into a subfolder of `cache`, whose name changes with the
    source's files, and mapped from there ever after. `workers` processes render a built-in set.

    Raises UserError if there is no such set, if it is damaged, or if it was prepared at another size.
    """
    check_size(size)
    if source == "digits":  # quicker to enlarge again than to read back
        return load_builtin(source, size)
    if source in BUILTIN:
        out = cache / f"{source}-{size}"
        return _open(prepare_builtin(source, out, size, workers=workers))
    path = Path(source)
    check_exists(path)
    if is_prepared(path):
        return _open_sized(path, size)
    key = fingerprint(path, size, None, None)
    return _open(prepare(path, cache / f"{path.resolve().stem}-{size}-{key[:_KEY_LENGTH]}", size))


def place_of(source: str) -> str | Path:
    """What `source` names, however it is spelled: a built-in set's name, or the whole path of pictures on a disk."""
    return source if source in BUILTIN else Path(source).resolve()


def check_exists(path: Path) -> None:
    """Raises UserError, with the built-in set that may have been meant, if there is nothing at `path`."""
    with suppress(OSError, ValueError):  # a name that no file can have
        if path.exists():
            return
    close = difflib.get_close_matches(str(path), BUILTIN, n=1, cutoff=0.5)
    meant = f"did you mean {close[0]!r}, or " if close else "give "
    kinds = f"a folder, parquet file(s) or a built-in set ({', '.join(BUILTIN)})"
    shown = str(path) if len(str(path)) < 300 else f"{str(path)[:300]}…"
    raise UserError(f"there is nothing at {shown}: {meant}{kinds}")


def check_size_fits(path: str, size: int, needed: int) -> None:
    """Raises UserError, with the command that helps, if a set prepared at `size` is needed at another."""
    if size != needed:
        raise UserError(
            f"{path} was prepared at {size}×{size} but the preset needs {needed}×{needed}:"
            f" run attnorm data prepare SRC OUT --size {needed}"
        )


def _open(report: PrepareReport) -> ImageDataset:
    if not report.reused:
        for line in report.notices():
            print(line, file=sys.stderr)
    return open_prepared(report.path)


def _open_sized(path: Path, size: int) -> ImageDataset:
    dataset = open_prepared(path)
    check_size_fits(str(path), dataset.size, size)
    return dataset
