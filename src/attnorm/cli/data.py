"""Prepare data sets for training, and inspect them."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import NoReturn

from attnorm.cli.arguments import path_or_name
from attnorm.data.builtin import BUILTIN
from attnorm.data.dataset import is_prepared, verify
from attnorm.data.loading import Summary, check_exists, summarize
from attnorm.data.prepare import prepare
from attnorm.errors import UserError, one_line

_LISTED = 20  # classes


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True, metavar="{prepare,inspect}")
    sets = f"a folder of class folders, parquet file(s), or a built-in set ({', '.join(BUILTIN)})"

    making = commands.add_parser("prepare", help="bring a data set to one size, ready for training")
    making.add_argument("source", type=path_or_name, metavar="SRC", help=sets)
    making.add_argument("out", type=path_or_name, metavar="OUT", help="the new folder")
    making.add_argument("--size", type=int, required=True, metavar="N", help="side of the images in pixels")
    making.add_argument("--workers", type=int, metavar="N", help="threads (one per processor)")

    looking = commands.add_parser("inspect", help="show a data set's size, classes and counts")
    looking.add_argument("source", type=path_or_name, metavar="PATH", help=f"a prepared folder, {sets}")
    looking.add_argument(
        "--verify", action="store_true", help="also read all of a prepared folder and compare checksums"
    )
    looking.add_argument("--json", action="store_true", help="print one JSON object")

    for command in (making, looking):
        command.add_argument("--image-column", metavar="NAME", help="parquet: the column with the images")
        command.add_argument("--label-column", metavar="NAME", help="parquet: the column with the classes")


def run(args: argparse.Namespace) -> None:
    if args.action == "prepare":
        _prepare(args)
    else:
        _inspect(args)


def _prepare(args: argparse.Namespace) -> None:
    if args.source in BUILTIN:
        for option in ("image_column", "label_column"):
            if getattr(args, option) is not None:
                raise UserError(f"--{option.replace('_', '-')} is for parquet files: leave it out for {args.source}")
    else:
        check_exists(Path(args.source))
    columns = {"image_column": args.image_column, "label_column": args.label_column}
    with _terminating_cleanly():
        report = prepare(args.source, args.out, args.size, workers=args.workers, **columns)
    for line in report.notices():
        print(one_line(line))
    verb = "already holds" if report.reused else "holds"
    print(one_line(f"{report.path} {verb} {report.count} images at {args.size}×{args.size}"))
    print(one_line(f"next: {_train(args.out)}"))


def _inspect(args: argparse.Namespace) -> None:
    summary = summarize(args.source, image_column=args.image_column, label_column=args.label_column)
    if args.verify:
        if not is_prepared(Path(args.source)):
            raise UserError(f"--verify is for prepared folders, and {args.source} is none: leave it out")
        verify(Path(args.source))
    if args.json:
        print(json.dumps(asdict(summary)))
        return
    for line in _describe(summary, args):
        print(one_line(line))


def _describe(summary: Summary, args: argparse.Namespace) -> Iterator[str]:
    size = f" at {summary.size}×{summary.size}" if summary.size else ""
    yield f"{summary.path}: {summary.kind}, {summary.count} images{size}, classes: {len(summary.classes)}"
    listed = [(one_line(name), count) for name, count in islice(summary.classes.items(), _LISTED)]
    width = max(len(name) for name, _ in listed)
    for name, count in listed:
        yield f"  {name:<{width}}  {count}"
    if len(summary.classes) > _LISTED:
        yield f"  and {len(summary.classes) - _LISTED} more classes (--json lists all)"
    if summary.skipped:
        yield f"skipped when it was prepared: {len(summary.skipped)}"
        yield from (f"  {name}: {reason}" for name, reason in summary.skipped)
    if args.verify:
        yield "every checksum is right"
    yield f"next: {_next_command(summary)}"


def _next_command(summary: Summary) -> str:
    if summary.size is None and summary.kind != "built-in set":
        return f"attnorm data prepare {shlex.quote(summary.path)} OUT --size N"
    return _train(summary.path)


def _train(data: str) -> str:
    return f"attnorm train PRESET --data {shlex.quote(data)}"


@contextmanager
def _terminating_cleanly() -> Iterator[None]:
    """Lets a terminated process leave through its cleanups, so that no unfinished folder stays behind."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
