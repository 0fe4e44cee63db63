"""`attnorm data prepare` and `attnorm data inspect`."""

from __future__ import annotations

import json
import shlex
import signal
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

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
    elif image_column is not None or label_column is not None:
        raise UserError(f"--image-column and --label-column are for parquet files: leave them out for {source}")
    before = signal.signal(signal.SIGTERM, _leave)  # so that no unfinished folder stays behind
    try:
        report = prepare(source, out, size, image_column=image_column, label_column=label_column)
    finally:
        signal.signal(signal.SIGTERM, before)
    verb = "already holds" if report.reused else "holds"
    notices = [*report.notices(), f"{report.path} {verb} {report.count} images at {size}×{size}", _train(out)]
    print("\n".join(map(one_line, notices)))


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
    listed = {one_line(name): count for name, count in list(summary.classes.items())[:LISTED]}
    width = max(map(len, listed))
    lines += [f"  {name:<{width}}  {count}" for name, count in listed.items()]
    if len(summary.classes) > LISTED:
        lines.append(f"  and {len(summary.classes) - LISTED} more classes (--json lists all)")
    if summary.skipped:
        lines.append(f"skipped when it was prepared: {len(summary.skipped)}")
        lines += [f"  {name}: {reason}" for name, reason in summary.skipped]
    if verify:
        lines.append("every checksum is right")
    if summary.size is None and summary.kind != "built-in set":
        lines.append(f"next: attnorm data prepare {shlex.quote(summary.path)} OUT --size N")
    else:
        lines.append(_train(summary.path))
    print("\n".join(map(one_line, lines)))


def _train(data: str | Path) -> str:
    return f"next: attnorm train PRESET --data {shlex.quote(str(data))} --out RUN"


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
