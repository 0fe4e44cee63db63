"""The layer and its operator beside instance norm, self-attention and Algorithm 1 as it is written, by map size: the
paper's Table 5 on this machine."""

from __future__ import annotations

import argparse

from attnorm.cli.bench.options import add_common, begin, finish, require_positive
from attnorm.errors import UserError
from attnorm.memory import check_memory


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[128, 256, 512, 1024], metavar="N", help="sides of the maps, in pixels"
    )
    parser.add_argument(
        "--passes", nargs="+", default=["forward", "training"], choices=["forward", "training"], help="both by default"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="maps a call (1)")
    parser.add_argument("--channels", type=int, default=32, metavar="N", help="(32)")
    parser.add_argument("--entities", type=int, default=16, metavar="N", help="(16)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--channels-last", action="store_true", help="memory order of the maps; NCHW without it")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--limit",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="contestants that need longer for a call stay out (10)",
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these, and instance_norm")
    add_common(parser, rounds=15)


def run(args: argparse.Namespace) -> None:
    import torch

    from attnorm.benchmarks.chart import save_lines
    from attnorm.benchmarks.layer import Setting, contestant_names
    from attnorm.benchmarks.layer import run as measure_layer
    from attnorm.benchmarks.layer_report import as_text

    require_positive(args, "batch", "channels", "entities")
    if min(args.sizes) < 2 or not args.limit > 0:
        raise UserError("--sizes must be at least 2, and --limit positive")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda was asked for, but this PyTorch sees no GPU: use --device cpu")
    if args.device == "cpu":
        _check_sizes(args)
    setting = Setting(
        sizes=tuple(sorted(set(args.sizes))),
        passes=tuple(dict.fromkeys(args.passes)),
        batch=args.batch,
        channels=args.channels,
        entities=args.entities,
        dtype=args.dtype,
        channels_last=args.channels_last,
        device=args.device,
        rounds=args.rounds,
        limit=args.limit,
        only=tuple(args.only),
    )
    names = contestant_names(setting)
    if unknown := [name for name in args.only if name not in names]:
        raise UserError(f"there is no contestant {unknown[0]!r}: choose from {', '.join(map(repr, names))}")
    report = measure_layer(setting, begin(args))
    finish(args, as_text(report), lambda path: save_lines(report, path))


def _check_sizes(args: argparse.Namespace) -> None:
    """The inputs alone, and the gradient that comes back, must fit; what a contestant needs beside them, it says."""
    size = max(args.sizes)
    values = args.batch * (3 * args.channels + 2 * args.entities) * size**2
    check_memory(
        values * (2 if args.dtype == "bfloat16" else 4),
        f"--sizes {size} with --batch {args.batch}, --channels {args.channels} and --entities {args.entities}",
        "choose smaller numbers",
    )
