"""`attnorm data prepare` and `attnorm data inspect`."""

from __future__ import annotations

import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from attnorm.cli.arguments import AtLeast1, Data, Json
from attnorm.data.choice import DEFAULT
from attnorm.data.choice import Choice as Options
from attnorm.errors import UserError, one_line

LISTED = 20  # classes
Choice = Annotated[Options, Parameter(name="*")]


def prepare(source: Data, out: Path, /, *, size: AtLeast1, choice: Choice = DEFAULT) -> None:
    """Bring images to one size, ready for training.

    Args:
        source: A folder of images or of a folder per class, a zip or tar of one, parquet file(s), .npz, CIFAR's files,
            hf:ORGANISATION/NAME, or a built-in set.
        out: The new folder.
        size: Side of the prepared images, in pixels.
    """
    from attnorm.data.builtin import BUILTIN
    from attnorm.data.loading import check_exists
    from attnorm.data.prepare import prepare

    if source not in BUILTIN:
        check_exists(source)
    # An exception, so that no unfinished folder stays behind.
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        report = prepare(source, out, size, choice)
    finally:
        signal.signal(signal.SIGTERM, before)
    verb = "already holds" if report.reused else "holds"
    _print([*report.notices, f"{report.path} {verb} {report.info.count} images at {size}×{size}", _train(str(out))])


def inspect(source: Data, /, *, verify: bool = False, as_json: Json = False, choice: Choice = DEFAULT) -> None:
    """Show an image set's size, classes and counts, and the files that are not read.

    Args:
        source: A prepared folder, or what `attnorm data prepare` takes.
        verify: Also read all of a prepared folder and compare its checksums.
    """
    from attnorm.data.dataset import is_prepared
    from attnorm.data.dataset import verify as verify_checksums
    from attnorm.data.listing import describe
    from attnorm.data.loading import summarize

    raw, size = summarize(str(source), choice)
    counts = {name: int((raw.labels == label).sum()) for label, name in enumerate(raw.class_names)}
    if verify:
        if not is_prepared(Path(source)):
            raise UserError(f"--verify is for prepared folders, and {source} is none: leave it out")
        verify_checksums(Path(source))
    if as_json:
        facts = {"path": str(source), "kind": raw.kind, "count": len(raw.labels), "size": size, "classes": counts}
        print(json.dumps(facts | {"notices": raw.notices, "skipped": raw.skipped}))
        return
    at = f" at {size}×{size}" if size else ""
    lines = [f"{source}: {raw.kind}, {len(raw.labels)} images{at}, classes: {len(counts)}"]
    lines += [f"  {count:>7}  {name}" for name, count in list(counts.items())[:LISTED]]
    if len(counts) > LISTED:
        lines.append(f"  and {len(counts) - LISTED} more classes (--json lists all)")
    lines += [f"note: {notice}" for notice in raw.notices]
    if raw.skipped:
        when = " when it was prepared" if size else ""
        lines.append(f"skipped {len(raw.skipped)} of {len(raw.labels) + len(raw.skipped)} files{when}:")
        lines += [f"  {line}" for line in describe(raw.skipped)]
    if verify:
        lines.append("every checksum is right")
    is_ready = size is not None or raw.kind == "built-in set"
    again = f"next: attnorm data prepare {shlex.quote(str(source))} OUT --size N"
    _print([*lines, _train(str(source)) if is_ready else again])


def _train(data: str) -> str:
    return f"next: attnorm train PRESET --data {shlex.quote(data)} --out RUN"


def _print(lines: list[str]) -> None:
    print("\n".join(map(one_line, lines)))
