"""Time and memory of inpainting with attentive normalization and with contextual attention, by picture size and mode,
each in a process of its own."""

from __future__ import annotations

import argparse

from attnorm.cli.bench.options import add_common, begin, finish, require_positive
from attnorm.errors import UserError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 1024], metavar="N", help="(256 1024)")
    parser.add_argument(
        "--modes",
        nargs="+",
        default=["native", "crop", "resize"],
        choices=["native", "crop", "resize"],
        help="what the network sees at once: the picture, a window around the hole, or all of it made smaller (all)",
    )
    parser.add_argument(
        "--width", type=int, default=32, metavar="N", help="of the networks; even, 32 in the paper (32)"
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="what takes longer for a picture is not repeated (60)",
    )
    add_common(parser, rounds=5)


def run(args: argparse.Namespace) -> None:
    from attnorm.benchmarks.chart import save_bars
    from attnorm.benchmarks.inpaint import Setting, as_text, bars
    from attnorm.benchmarks.inpaint import run as measure_inpainting
    from attnorm.inpainting_pipeline import SMALLEST_SIDE
    from attnorm.models.inpainting import InpaintingGeneratorConfig

    require_positive(args)
    if min(args.sizes) < SMALLEST_SIDE or not args.limit > 0:
        raise UserError(f"--sizes must be at least {SMALLEST_SIDE}, and --limit positive")
    try:
        InpaintingGeneratorConfig(width=args.width)
    except ValueError as error:
        raise UserError(f"--width: {error}") from error
    setting = Setting(
        sizes=tuple(sorted(set(args.sizes))),
        modes=tuple(dict.fromkeys(args.modes)),
        width=args.width,
        rounds=args.rounds,
        limit=args.limit,
    )
    report = measure_inpainting(setting, begin(args))
    finish(args, as_text(report), lambda path: save_bars(bars(report), path))
