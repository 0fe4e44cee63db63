"""`attnorm data prepare` and `attnorm data inspect`."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from attnorm.cli.arguments import AtLeast1, Data, Json
from attnorm.errors import UserError, one_line

LISTED = 20  # classes


def prepare(
    source: Data, out: Path, /, *, size: AtLeast1, image_column: str | None = None, label_column: str | None = None
) -> None:
    """Bring images to one size, ready for training.

    Args:
        source: A folder of images or of a folder per class, parquet file(s), or a built-in set.
        out: The new folder.
        size: Side of the prepared images, in pixels.
        image_column: For parquet files: the column with the images.
        label_column: For parquet files: the column with the classes.
    """
    from attnorm.data.builtin import BUILTIN
    from attnorm.data.loading import check_exists
    from attnorm.data.prepare import prepare

    if source not in BUILTIN:
        check_exists(Path(source))
    # An exception, so that no unfinished folder stays behind.
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        report = prepare(source, out, size, image_column=image_column, label_column=label_column)
    finally:
        signal.signal(signal.SIGTERM, before)
    verb = "already holds" if report.reused else "holds"
    _print([*report.notices(), f"{report.path} {verb} {report.count} images at {size}×{size}", _train(str(out))])


def inspect(
    source: Data,
    /,
    *,
    verify: bool = False,
    as_json: Json = False,
    image_column: str | None = None,
    label_column: str | None = None,
) -> None:
    """Show an image set's size, classes and counts.

    Args:
        source: A prepared folder, a folder of images or of a folder per class, parquet file(s), or a built-in set.
        verify: Also read all of a prepared folder and compare its checksums.
        image_column: For parquet files: the column with the images.
        label_column: For parquet files: the column with the classes.
    """
    from attnorm.data.dataset import is_prepared
    from attnorm.data.dataset import verify as verify_checksums
    from attnorm.data.loading import summarize

    summary = summarize(str(source), image_column=image_column, label_column=label_column)
    if verify:
        if not is_prepared(Path(source)):
            raise UserError(f"--verify is for prepared folders, and {source} is none: leave it out")
        verify_checksums(Path(source))
    if as_json:
        print(json.dumps(asdict(summary)))
        return
    size = f" at {summary.size}×{summary.size}" if summary.size else ""
    lines = [f"{summary.path}: {summary.kind}, {summary.count} images{size}, classes: {len(summary.classes)}"]
    lines += [f"  {count:>7}  {name}" for name, count in list(summary.classes.items())[:LISTED]]
    if len(summary.classes) > LISTED:
        lines.append(f"  and {len(summary.classes) - LISTED} more classes (--json lists all)")
    lines += [f"skipped when it was prepared: {name}: {reason}" for name, reason in summary.skipped]
    if verify:
        lines.append("every checksum is right")
    is_ready = summary.size is not None or summary.kind == "built-in set"
    again = f"next: attnorm data prepare {shlex.quote(summary.path)} OUT --size N"
    _print([*lines, _train(summary.path) if is_ready else again])


def _train(data: str) -> str:
    return f"next: attnorm train PRESET --data {shlex.quote(data)} --out RUN"


def _print(lines: list[str]) -> None:
    print("\n".join(map(one_line, lines)))
