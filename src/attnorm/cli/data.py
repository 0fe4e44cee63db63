"""`attnorm data prepare` and `attnorm data inspect`."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

from cyclopts import Parameter

from attnorm.cli.arguments import AtLeast1, Data
from attnorm.errors import UserError, one_line


@Parameter(name="*")
@dataclass(frozen=True)
class Columns:
    """Where parquet files have the images and the classes.

    Args:
        image_column: For parquet files: the column with the images.
        label_column: For parquet files: the column with the classes.
    """

    image_column: str | None = None
    label_column: str | None = None


def prepare(source: Data, out: Path, /, *, size: AtLeast1, columns: Columns = Columns()) -> None:
    """Bring images to one size, ready for training.

    Args:
        source: A folder of images or of a folder per class, parquet file(s), or a built-in set (digits, photos).
        out: The new folder.
        size: Side of the prepared images, in pixels.
    """
    from attnorm.data.builtin import BUILTIN
    from attnorm.data.loading import check_exists
    from attnorm.data.prepare import prepare

    if source not in BUILTIN:
        check_exists(Path(source))
    report = prepare(source, out, size, **asdict(columns))
    verb = "already holds" if report.reused else "holds"
    _print([*report.notices(), f"{report.path} {verb} {report.count} images at {size}×{size}", _train(str(out))])


def inspect(source: Data, /, *, verify: bool = False, columns: Columns = Columns()) -> None:
    """Show an image set's size, classes and counts.

    Args:
        source: As for `attnorm data prepare`, or a prepared folder.
        verify: Also read all of a prepared folder and compare its checksums.
    """
    from attnorm.data.dataset import is_prepared
    from attnorm.data.dataset import verify as verify_checksums
    from attnorm.data.loading import summarize

    summary = summarize(str(source), **asdict(columns))
    size = f" at {summary.size}×{summary.size}" if summary.size else ""
    lines = [f"{summary.path}: {summary.kind}, {summary.count} images{size}, classes: {len(summary.classes)}"]
    lines += [f"  {count:>7}  {name}" for name, count in summary.classes.items()]
    lines += [f"skipped when it was prepared: {name}: {reason}" for name, reason in summary.skipped]
    if verify:
        if not is_prepared(Path(source)):
            raise UserError(f"--verify is for prepared folders, and {source} is none: leave it out")
        verify_checksums(Path(source))
        lines.append("every checksum is right")
    is_ready = summary.size is not None or summary.kind == "built-in set"
    again = f"next: attnorm data prepare {shlex.quote(summary.path)} OUT --size N"
    _print([*lines, _train(summary.path) if is_ready else again])


def _train(data: str) -> str:
    return f"next: attnorm train PRESET --data {shlex.quote(data)} --out RUN"


def _print(lines: list[str]) -> None:
    print("\n".join(map(one_line, lines)))
