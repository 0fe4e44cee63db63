"""How fast generators of equal channels draw pictures, by system and batch size."""

from __future__ import annotations

import argparse

from attnorm.cli.bench.options import add_common, add_networks, begin, check_systems, finish, require_positive


def configure(parser: argparse.ArgumentParser) -> None:
    add_networks(parser)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], metavar="N", help="(1 8 32)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    add_common(parser, rounds=9)


def run(args: argparse.Namespace) -> None:
    from attnorm.benchmarks.chart import save_bars
    from attnorm.benchmarks.generate import Setting, as_text, bars
    from attnorm.benchmarks.generate import run as measure_drawing
    from attnorm.training.precision import resolve_device

    require_positive(args, "batches")
    check_systems(args.systems)
    resolve_device(args.device)
    setting = Setting(
        sizes=tuple(sorted(set(args.sizes))),
        systems=tuple(dict.fromkeys(args.systems)),
        batches=tuple(sorted(set(args.batches))),
        networks=args.networks,
        device=args.device,
        rounds=args.rounds,
    )
    report = measure_drawing(setting, begin(args))
    finish(args, as_text(report), lambda path: save_bars(bars(report), path))
