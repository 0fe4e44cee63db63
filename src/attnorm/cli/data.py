"""Prepare picture sets for training, and inspect them."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

from attnorm.cli.arguments import path_or_name
from attnorm.data.builtin import BUILTIN
from attnorm.data.loading import check_exists, check_size_fits
from attnorm.data.prepare import PrepareReport, default_workers, prepare, prepare_builtin
from attnorm.data.summary import Summary, summarise
from attnorm.errors import UserError

_LISTED_CLASSES = 20


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True, metavar="{prepare,inspect}")
    sets = f"a folder of class folders, parquet file(s), or a built-in set ({', '.join(BUILTIN)})"

    making = commands.add_parser("prepare", help="bring a picture set to one size, ready for training")
    making.add_argument("source", type=path_or_name, metavar="SRC", help=sets)
    making.add_argument("out", type=path_or_name, metavar="OUT", help="the new folder")
    making.add_argument("--size", type=int, required=True, metavar="N", help="side of the pictures in pixels")
    making.add_argument("--workers", type=int, metavar="N", help="how many to work at once (all processors)")
    making.add_argument("--count", type=int, metavar="N", help="pictures to take of a built-in set (all)")
    making.add_argument("--seed", type=int, metavar="N", help="which drawing of a synthetic set (0)")

    looking = commands.add_parser("inspect", help="say what a picture set is: its size, classes and counts")
    looking.add_argument("source", type=path_or_name, metavar="PATH", help=f"a prepared folder, {sets}")
    looking.add_argument("--size", type=int, metavar="N", help="also check that it suits this size")
    looking.add_argument("--json", action="store_true", help="print one JSON object")

    for command in (making, looking):
        command.add_argument("--image-column", metavar="NAME", help="parquet: the column with the pictures")
        command.add_argument("--label-column", metavar="NAME", help="parquet: the column with the classes")


def run(args: argparse.Namespace) -> None:
    if args.action == "prepare":
        _prepare(args)
    else:
        _inspect(args)


def _prepare(args: argparse.Namespace) -> None:
    built_in = args.source in BUILTIN
    needless = ("image_column", "label_column") if built_in else ("count", "seed")
    for name in needless:
        if getattr(args, name) is not None:
            other = "parquet files" if built_in else f"built-in sets ({', '.join(BUILTIN)})"
            raise UserError(f"--{name.replace('_', '-')} is for {other}: leave it out for {args.source}")
    with _terminating_cleanly():
        report = _prepare_builtin(args) if built_in else _prepare_raw(args)
    for line in report.notices():
        print(line)
    verb = "already holds" if report.reused else "holds"
    print(f"{args.out} {verb} {report.count} pictures at {args.size}×{args.size}")
    print(f"next: {_train(args.out)}")


def _prepare_raw(args: argparse.Namespace) -> PrepareReport:
    check_exists(Path(args.source))
    return prepare(
        args.source,
        args.out,
        args.size,
        image_column=args.image_column,
        label_column=args.label_column,
        workers=args.workers,
    )


def _prepare_builtin(args: argparse.Namespace) -> PrepareReport:
    workers = default_workers() if args.workers is None else args.workers
    return prepare_builtin(args.source, args.out, args.size, count=args.count, seed=args.seed or 0, workers=workers)


def _inspect(args: argparse.Namespace) -> None:
    summary = summarise(args.source, image_column=args.image_column, label_column=args.label_column)
    if args.size is not None and summary.size is not None:
        check_size_fits(args.source, summary.size, args.size)
    if args.json:
        print(json.dumps(asdict(summary)))
        return
    for line in _describe(summary):
        print(line)
    print(f"next: {_next_command(summary, args.size)}")


def _describe(summary: Summary) -> Iterator[str]:
    size = f" at {summary.size}×{summary.size}" if summary.size else ""
    yield f"{summary.path}: {summary.kind}, {summary.count} pictures{size}, classes: {len(summary.classes)}"
    listed = list(summary.classes.items())[:_LISTED_CLASSES]
    width = max(len(name) for name, _ in listed)
    for name, count in listed:
        yield f"  {name:<{width}}  {count}"
    if len(summary.classes) > _LISTED_CLASSES:
        yield f"  and {len(summary.classes) - _LISTED_CLASSES} more classes (--json lists all)"
    if summary.skipped:
        yield f"skipped when it was prepared: {len(summary.skipped)}"
        yield from (f"  {name}: {reason}" for name, reason in summary.skipped)


def _next_command(summary: Summary, size: int | None) -> str:
    if summary.size is None and summary.kind != "built-in set":
        return f"attnorm data prepare {shlex.quote(summary.path)} OUT --size {size or 'N'}"
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
