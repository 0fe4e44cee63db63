"""A whole training step of the class-conditional systems at equal channels: images/s, time beside the system without a
long-range layer, peak memory beside weights and optimisers, and where the time goes."""

from __future__ import annotations

import argparse

from attnorm.cli.bench.options import add_common, add_networks, begin, check_systems, finish, require_positive
from attnorm.errors import UserError


def configure(parser: argparse.ArgumentParser) -> None:
    add_networks(parser)
    parser.add_argument("--batch", type=int, metavar="N", help="pictures a step (32, at 128 pixels 8)")
    parser.add_argument("--plain", action="store_true", help="the same steps in float32, NCHW and with plain Adam too")
    parser.add_argument("--compile", action="store_true", help="the same steps with compiled networks too")
    parser.add_argument(
        "--profile", nargs="+", default=[], metavar="SYSTEM", help="take the steps of these systems apart"
    )
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bf16"])
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    add_common(parser, rounds=7)


def run(args: argparse.Namespace) -> None:
    from attnorm.benchmarks.chart import save_bars
    from attnorm.benchmarks.train import Setting, as_text, bars
    from attnorm.benchmarks.train import run as measure_steps

    require_positive(args, "batch")
    check_systems(args.systems)
    if unknown := [system for system in args.profile if system not in args.systems]:
        raise UserError(f"--profile {unknown[0]} is none of the systems measured: name it after --systems too")
    setting = Setting(
        sizes=tuple(sorted(set(args.sizes))),
        systems=tuple(dict.fromkeys(args.systems)),
        networks=args.networks,
        batch=args.batch,
        plain=args.plain,
        compiled=args.compile,
        profiled=tuple(dict.fromkeys(args.profile)),
        precision=args.precision,
        device=args.device,
        rounds=args.rounds,
    )
    report = measure_steps(setting, begin(args))
    finish(args, as_text(report), lambda path: save_bars(bars(report), path))
