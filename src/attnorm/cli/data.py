"""`attnorm data prepare` and `attnorm data inspect`."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from attnorm.cli.arguments import AtLeast1, Data, Json
from attnorm.errors import UserError, one_line

if TYPE_CHECKING:
    from attnorm.data.summary import Summary

LISTED = 20  # classes


def prepare(
    source: Data,
    out: Path,
    /,
    *,
    size: AtLeast1,
    count: AtLeast1 | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> None:
    """Bring images to one size, ready for training.

    Args:
        source: A folder of images, a folder of class folders, parquet file(s), or a built-in set.
        out: The new folder.
        size: Side of the prepared images, in pixels.
        count: For built-in sets: images to take (default: all).
        image_column: For parquet files: the column with the images.
        label_column: For parquet files: the column with the classes.
    """
    from attnorm.data.builtin import BUILTIN
    from attnorm.data.loading import check_exists
    from attnorm.data.prepare import default_workers, prepare, prepare_builtin

    built_in = source in BUILTIN
    parquet_only = {"image-column": image_column, "label-column": label_column}
    for name, value in (parquet_only if built_in else {"count": count}).items():
        if value is not None:
            kind = "parquet files" if built_in else f"built-in sets ({', '.join(BUILTIN)})"
            raise UserError(f"--{name} is for {kind}: leave it out for {source}")
    with _terminating_cleanly():
        if built_in:
            report = prepare_builtin(source, out, size, count=count, seed=0, workers=default_workers())
        else:
            check_exists(Path(source))
            report = prepare(source, out, size, image_column=image_column, label_column=label_column)
    for line in report.notices():
        print(one_line(line))
    verb = "already holds" if report.reused else "holds"
    print(one_line(f"{report.path} {verb} {report.count} images at {size}×{size}"))
    print(one_line(f"next: {_train(out)}"))


def inspect(
    source: Data,
    /,
    *,
    size: AtLeast1 | None = None,
    verify: bool = False,
    as_json: Json = False,
    image_column: str | None = None,
    label_column: str | None = None,
) -> None:
    """Show an image set's size, classes and counts.

    Args:
        source: A prepared folder, a folder of images, a folder of class folders, parquet file(s), or a built-in set.
        size: Also check that it suits this size.
        verify: Also read all of a prepared folder and compare its checksums.
        image_column: For parquet files: the column with the images.
        label_column: For parquet files: the column with the classes.
    """
    from attnorm.data.loading import check_size_fits
    from attnorm.data.manifest import is_prepared
    from attnorm.data.summary import summarise
    from attnorm.data.verify import verify as verify_checksums

    summary = summarise(source, image_column=image_column, label_column=label_column)
    if size is not None and summary.size is not None:
        check_size_fits(source, summary.size, size)
    if verify:
        if not is_prepared(Path(source)):
            raise UserError(f"--verify is for prepared folders, and {source} is none: leave it out")
        verify_checksums(Path(source))
    if as_json:
        print(json.dumps(asdict(summary)))
        return
    for line in _lines(summary):
        print(one_line(line))
    if verify:
        print("its images and labels are what was written: every checksum is right")
    if summary.size is None and summary.kind != "built-in set":
        print(one_line(f"next: attnorm data prepare {shlex.quote(summary.path)} OUT --size {size or 'N'}"))
    else:
        print(one_line(f"next: {_train(summary.path)}"))


def _lines(summary: Summary) -> Iterator[str]:
    size = f" at {summary.size}×{summary.size}" if summary.size else ""
    yield f"{summary.path}: {summary.kind}, {summary.count} images{size}, classes: {len(summary.classes)}"
    listed = [(one_line(name), count) for name, count in islice(summary.classes.items(), LISTED)]
    width = max(len(name) for name, _ in listed)
    for name, count in listed:
        yield f"  {name:<{width}}  {count}"
    if len(summary.classes) > LISTED:
        yield f"  and {len(summary.classes) - LISTED} more classes (--json lists all)"
    if summary.skipped:
        yield f"skipped when it was prepared: {len(summary.skipped)}"
        yield from (f"  {name}: {reason}" for name, reason in summary.skipped)


def _train(data: str | Path) -> str:
    return f"attnorm train PRESET --data {shlex.quote(str(data))} --out RUN"


@contextmanager
def _terminating_cleanly() -> Iterator[None]:
    """Lets SIGTERM end the process through its cleanups, so that no unfinished folder stays behind."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
