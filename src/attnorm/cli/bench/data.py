"""How fast training pictures are read from a prepared map, directly and through the prefetching thread, and raw JPEG
files prepared. Makes what it reads in a temporary folder."""

from __future__ import annotations

import argparse

from attnorm.cli.bench.options import add_common, begin, finish, require_positive
from attnorm.errors import UserError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=128, metavar="N", help="side of the prepared pictures (128)")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64, 256], metavar="N", help="(16 64 256)")
    parser.add_argument("--pictures", type=int, default=8192, metavar="N", help="in the map (8192)")
    parser.add_argument("--jpegs", type=int, default=128, metavar="N", help="files to prepare; 0 for none (128)")
    add_common(parser, rounds=9)


def run(args: argparse.Namespace) -> None:
    from attnorm.benchmarks.chart import save_bars
    from attnorm.benchmarks.data import Setting, as_text, bars
    from attnorm.benchmarks.data import run as measure_reading
    from attnorm.data.prepare import check_size

    require_positive(args, "batches")
    check_size(args.size)
    if args.pictures < 2 or args.jpegs < 0 or args.jpegs == 1:
        raise UserError("--pictures must be at least 2, and --jpegs 0 or at least 2: there are two classes")
    keep = begin(args)
    setting = Setting(args.size, tuple(sorted(set(args.batches))), args.pictures, args.jpegs, args.rounds)
    report = measure_reading(setting)
    keep(report)
    finish(args, as_text(report), lambda path: save_bars(bars(report), path))
