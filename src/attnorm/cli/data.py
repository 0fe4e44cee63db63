"""`attnorm data prepare` and `attnorm data inspect`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from attnorm.cli.arguments import AtLeast1, Data, Flag
from attnorm.data.choice import DEFAULT
from attnorm.data.choice import Choice as Options
from attnorm.errors import UserError, one_line

Choice = Annotated[Options, Parameter(name="*")]


def prepare(source: Data, out: Path, /, *, size: AtLeast1, choice: Choice = DEFAULT) -> None:
    """Bring images to one size, ready for training.

    Args:
        source: A folder of images or of a folder per class, a zip or tar of one, parquet file(s), a .npz file, CIFAR's
            files, hf:ORGANISATION/NAME on the Hugging Face Hub, or a built-in set (digits, photos).
        out: The new folder.
        size: Side of the prepared images, in pixels.
    """
    from attnorm.data.builtin import BUILTIN
    from attnorm.data.loading import check_exists
    from attnorm.data.prepare import prepare

    if source not in BUILTIN:
        check_exists(source)
    report = prepare(source, out, size, choice)
    verb = "already holds" if report.reused else "holds"
    _print([*report.notices, f"{report.path} {verb} {report.info.count} images at {size}×{size}", _train(str(out))])


def inspect(source: Data, /, *, verify: Flag = False, choice: Choice = DEFAULT) -> None:
    """Show an image set's size, classes and counts, and the files that are not read.

    Args:
        source: As for `attnorm data prepare`, or a prepared folder.
        verify: Also read all of a prepared folder and compare its checksums.
    """
    from attnorm.data.dataset import is_prepared
    from attnorm.data.dataset import verify as verify_checksums
    from attnorm.data.listing import describe
    from attnorm.data.loading import summarize

    raw, size = summarize(str(source), choice)
    count, at = len(raw.labels), f" at {size}×{size}" if size else ""
    lines = [f"{source}: {raw.kind}, {count} images{at}, classes: {len(raw.class_names)}"]
    lines += [f"  {(raw.labels == label).sum():>7}  {name}" for label, name in enumerate(raw.class_names)]
    lines += [f"note: {notice}" for notice in raw.notices]
    if raw.skipped:
        when = " when it was prepared" if size else ""
        lines.append(f"skipped {len(raw.skipped)} of {count + len(raw.skipped)} files{when}:")
        lines += [f"  {line}" for line in describe(raw.skipped)]
    if verify:
        if not is_prepared(Path(source)):
            raise UserError(f"--verify is for prepared folders, and {source} is none: leave it out")
        verify_checksums(Path(source))
        lines.append("every checksum is right")
    is_ready = size is not None or raw.kind == "built-in set"
    again = f"next: attnorm data prepare {shlex.quote(str(source))} OUT --size N"
    _print([*lines, _train(str(source)) if is_ready else again])


def _train(data: str) -> str:
    return f"next: attnorm train PRESET --data {shlex.quote(data)} --out RUN"


def _print(lines: list[str]) -> None:
    print("\n".join(map(one_line, lines)))
