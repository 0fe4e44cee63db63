"""Prepare picture sets for training, and inspect them."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import NoReturn

from attnorm.cli.arguments import path_or_name
from attnorm.data.builtin import BUILTIN
from attnorm.data.loading import check_exists, check_size_fits
from attnorm.data.manifest import is_prepared
from attnorm.data.prepare import PrepareReport, default_workers, prepare, prepare_builtin
from attnorm.data.shards import Share
from attnorm.data.summary import Summary, summarise
from attnorm.data.verify import verify
from attnorm.errors import UserError, one_line

_LISTED = 20  # classes, and shards


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", required=True, metavar="{prepare,inspect}")
    sets = f"a folder of class folders, parquet file(s), or a built-in set ({', '.join(BUILTIN)})"

    making = commands.add_parser("prepare", help="bring a picture set to one size, ready for training")
    making.add_argument("source", type=path_or_name, metavar="SRC", help=sets)
    making.add_argument("out", type=path_or_name, metavar="OUT", help="the new folder")
    making.add_argument("--size", type=int, required=True, metavar="N", help="side of the pictures in pixels")
    making.add_argument(
        "--shards", type=int, metavar="N", help="write the set in N parts, of which jobs can write one each (1)"
    )
    making.add_argument("--shard", type=int, metavar="K", help="write part K alone, counted from 0 (all, one by one)")
    making.add_argument("--workers", type=int, metavar="N", help="how many to work at once (all processors)")
    making.add_argument("--count", type=int, metavar="N", help="pictures to take of a built-in set (all)")
    making.add_argument("--seed", type=int, metavar="N", help="which drawing of a synthetic set (0)")

    looking = commands.add_parser("inspect", help="say what a picture set is: its size, classes and counts")
    looking.add_argument("source", type=path_or_name, metavar="PATH", help=f"a prepared folder, {sets}")
    looking.add_argument("--size", type=int, metavar="N", help="also check that it suits this size")
    looking.add_argument(
        "--verify", action="store_true", help="also read all of a prepared folder and compare checksums"
    )
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
    own, ours = "parquet files", f"built-in sets ({', '.join(BUILTIN)})"
    needless = {"count": ours, "seed": ours}
    if built_in:
        needless = {"image_column": own, "label_column": own, "shards": "pictures of your own", "shard": "shards"}
    for name, other in needless.items():
        if getattr(args, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} is for {other}: leave it out for {args.source}")
    if args.shard is not None and args.shards is None:
        raise UserError(f"--shard {args.shard} is one of how many? Give --shards too")
    with _terminating_cleanly():
        report = _prepare_builtin(args) if built_in else _prepare_raw(args)
    for line in _told(report, args):
        print(one_line(line))


def _told(report: PrepareReport, args: argparse.Namespace) -> Iterator[str]:
    yield from report.notices()
    verb = "already holds" if report.reused else "holds"
    shards = f" in {len(report.shards)} shards" if len(report.shards) > 1 else ""
    yield f"{report.path} {verb} {report.count} pictures at {args.size}×{args.size}{shards}"
    if report.missing:
        yield f"still missing: {_listed_shards(report.missing)}"
        return
    yield from _removal(report.leftovers)
    if report.path != Path(args.out):
        yield f"{args.out} has all its {args.shards} shards now"
    yield f"next: {_train(args.out)}"


def _listed_shards(shares: Sequence[Share]) -> str:
    more = f" and {len(shares) - _LISTED} more" if len(shares) > _LISTED else ""
    return f"shard {', '.join(str(share.number) for share in shares[:_LISTED])}{more} of {shares[0].of}"


def _prepare_raw(args: argparse.Namespace) -> PrepareReport:
    check_exists(Path(args.source))
    return prepare(
        args.source,
        args.out,
        args.size,
        image_column=args.image_column,
        label_column=args.label_column,
        shards=1 if args.shards is None else args.shards,
        shard=args.shard,
        workers=args.workers,
    )


def _prepare_builtin(args: argparse.Namespace) -> PrepareReport:
    workers = default_workers() if args.workers is None else args.workers
    return prepare_builtin(args.source, args.out, args.size, count=args.count, seed=args.seed or 0, workers=workers)


def _inspect(args: argparse.Namespace) -> None:
    summary = summarise(args.source, image_column=args.image_column, label_column=args.label_column)
    if args.size is not None and summary.size is not None:
        check_size_fits(args.source, summary.size, args.size)
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
    yield f"{summary.path}: {summary.kind}, {summary.count} pictures{size}, classes: {len(summary.classes)}"
    listed = [(one_line(name), count) for name, count in islice(summary.classes.items(), _LISTED)]
    width = max(len(name) for name, _ in listed)
    for name, count in listed:
        yield f"  {name:<{width}}  {count}"
    if len(summary.classes) > _LISTED:
        yield f"  and {len(summary.classes) - _LISTED} more classes (--json lists all)"
    if summary.shards:
        yield f"shards: {len(summary.shards)}"
        for number, shard in enumerate(summary.shards[:_LISTED]):
            yield f"  shard {number}: {shard.count} pictures{f', {shard.skipped} skipped' if shard.skipped else ''}"
        if len(summary.shards) > _LISTED:
            yield f"  and {len(summary.shards) - _LISTED} more shards (--json lists all)"
    if summary.skipped:
        yield f"skipped when it was prepared: {len(summary.skipped)}"
        yield from (f"  {name}: {reason}" for name, reason in summary.skipped)
    yield from _removal(summary.leftovers)
    if args.verify:
        yield "its pictures and labels are what was written: every checksum is right"
    yield f"next: {_next_command(summary, args.size)}"


def _removal(leftovers: Sequence[str | Path]) -> Iterator[str]:
    """How to be rid of unfinished work on shards that are finished, which nobody reads."""
    if leftovers:
        yield f"unfinished copies of finished shards: {len(leftovers)}; remove those that no job writes any more:"
        yield from (f"  rm -r {shlex.quote(str(path))}" for path in leftovers)


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
