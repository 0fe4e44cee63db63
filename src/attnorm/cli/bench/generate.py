"""How fast generators of equal channels draw pictures, by system and batch size."""

from __future__ import annotations

import argparse

from attnorm.cli.bench.options import add_common, begin, check_systems, finish, require_positive
from attnorm.errors import UserError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128], choices=[32, 64, 128], metavar="N")
    parser.add_argument(
        "--systems",
        nargs="+",
        default=["sn-gan-star", "sa-gan", "an-gan"],
        metavar="SYSTEM",
        help="the part of a preset's name before the data (sn-gan-star sa-gan an-gan)",
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], metavar="N", help="(1 8 32)")
    parser.add_argument(
        "--networks",
        default="cpu",
        choices=["cpu", "paper"],
        help="those of the -cpu presets, or the full-sized ones (cpu)",
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    add_common(parser, rounds=9)


def run(args: argparse.Namespace) -> None:
    import torch

    from attnorm.benchmarks.chart import save_bars
    from attnorm.benchmarks.generate import Setting, as_text, bars
    from attnorm.benchmarks.generate import run as measure_drawing

    require_positive(args, "batches")
    check_systems(args.systems)
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda was asked for, but this PyTorch sees no GPU")
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
