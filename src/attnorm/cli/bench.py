"""Measure speed and memory on this machine: contestants take turns, and their ratios come from one run."""

from __future__ import annotations

import argparse
from typing import Any

from attnorm.cli.arguments import file_path
from attnorm.errors import UserError
from attnorm.files import check_output
from attnorm.memory import check_memory


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="{layer}")
    layer = commands.add_parser(
        "layer",
        help="the layer and its operator beside instance norm and self-attention, by map size (the paper's Table 5)",
        description="The layer and its operator beside instance norm, self-attention and Algorithm 1 as it is written, "
        "by map size: the paper's Table 5 on this machine.",
    )
    layer.add_argument(
        "--sizes", type=int, nargs="+", default=[128, 256, 512, 1024], metavar="N", help="sides of the maps, in pixels"
    )
    layer.add_argument(
        "--passes", nargs="+", default=["forward", "training"], choices=["forward", "training"], help="both by default"
    )
    layer.add_argument("--batch", type=int, default=1, metavar="N", help="maps a call (1)")
    layer.add_argument("--channels", type=int, default=32, metavar="N", help="(32)")
    layer.add_argument("--entities", type=int, default=16, metavar="N", help="(16)")
    layer.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    layer.add_argument("--channels-last", action="store_true", help="memory order of the maps; NCHW without it")
    layer.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    layer.add_argument("--threads", type=int, metavar="N", help="of PyTorch (as many as it takes by itself)")
    layer.add_argument("--rounds", type=int, default=15, metavar="N", help="samples of each contestant (15)")
    layer.add_argument(
        "--limit",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="contestants that need longer for a call stay out (10)",
    )
    layer.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these, and instance_norm")
    layer.add_argument("--json", type=file_path, metavar="FILE", help="write the figures here too")
    layer.add_argument("--plot", type=file_path, metavar="FILE", help="draw a log-log chart here: PNG, SVG or PDF")


def run(args: argparse.Namespace) -> None:
    import torch

    from attnorm.benchmarks.chart import save_chart
    from attnorm.benchmarks.layer import Setting, contestant_names
    from attnorm.benchmarks.layer import run as measure_layer
    from attnorm.benchmarks.report import as_text, write_json

    for name in ("batch", "channels", "entities", "rounds", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name} must be at least 1, got {value}")
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
    if args.threads is not None:
        torch.set_num_threads(args.threads)

    def keep(report: dict[str, Any]) -> None:
        if args.json is not None:
            write_json(args.json, report)

    _check_files(args)
    if args.json is not None and not args.json.exists():  # figures of an earlier call stay until there are others
        keep({"figures": []})  # what cannot be written fails before the work
    report = measure_layer(setting, keep)
    print(as_text(report))
    if args.plot is not None:
        save_chart(report, args.plot)
    for path in (args.json, args.plot):
        if path is not None:
            print(path)


def _check_sizes(args: argparse.Namespace) -> None:
    """The inputs alone, and the gradient that comes back, must fit; what a contestant needs beside them, it says."""
    size = max(args.sizes)
    values = args.batch * (3 * args.channels + 2 * args.entities) * size**2
    check_memory(
        values * (2 if args.dtype == "bfloat16" else 4),
        f"--sizes {size} with --batch {args.batch}, --channels {args.channels} and --entities {args.entities}",
        "choose smaller numbers",
    )


def _check_files(args: argparse.Namespace) -> None:
    """Finds out before the work whether both files can be written."""
    from attnorm.benchmarks.chart import check_chart

    if args.plot is not None:
        check_chart(args.plot)
    for path in (args.json, args.plot):
        if path is not None:
            check_output(path, force=True)
