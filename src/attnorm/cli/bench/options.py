"""What the benchmarks' commands have in common: how long to measure, and where the figures go."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attnorm.cli.arguments import file_path
from attnorm.errors import UserError
from attnorm.files import check_output

Keep = Callable[[dict[str, Any]], None]


def add_common(parser: argparse.ArgumentParser, *, rounds: int) -> None:
    parser.add_argument("--threads", type=int, metavar="N", help="of PyTorch (as many as it takes by itself)")
    parser.add_argument(
        "--rounds", type=int, default=rounds, metavar="N", help=f"samples of each contestant ({rounds})"
    )
    parser.add_argument("--json", type=file_path, metavar="FILE", help="write the figures here too; replaces the file")
    parser.add_argument("--plot", type=file_path, metavar="FILE", help="draw a PNG, SVG or PDF here; replaces the file")


def add_networks(parser: argparse.ArgumentParser) -> None:
    """Which class-conditional networks are measured."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128], choices=[32, 64, 128], metavar="N")
    parser.add_argument(
        "--systems",
        nargs="+",
        default=["sn-gan-star", "sa-gan", "an-gan"],
        metavar="SYSTEM",
        help="the part of a preset's name before the data (sn-gan-star sa-gan an-gan)",
    )
    parser.add_argument(
        "--networks",
        default="cpu",
        choices=["cpu", "paper"],
        help="those of the -cpu presets, or the full-sized ones (cpu)",
    )


def require_positive(args: argparse.Namespace, *names: str) -> None:
    """Of each option that may hold a number or several.

    Raises:
        UserError: one is below 1.
    """
    for name in ("rounds", "threads", *names):
        value = getattr(args, name)
        for number in value if isinstance(value, list) else [value]:
            if number is not None and number < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {number}")


def begin(args: argparse.Namespace) -> Keep:
    """Finds out before the long work whether its results can be written; returns what keeps a report so far.

    Raises:
        UserError: they cannot.
    """
    if args.plot is not None:
        from attnorm.plots.charts import check_chart_name

        check_chart_name(args.plot)
    for path in (args.json, args.plot):
        if path is not None:
            check_output(path, force=True)
    if args.threads is not None:
        import torch

        torch.set_num_threads(args.threads)

    def keep(report: dict[str, Any]) -> None:
        if args.json is not None:
            from attnorm.benchmarks.report import write_json

            write_json(args.json, report)

    return keep


def finish(args: argparse.Namespace, text: str, draw: Callable[[Path], None]) -> None:
    """Prints the tables, draws the chart, and names the files."""
    print(text)
    if args.plot is not None:
        draw(args.plot)
    for path in (args.json, args.plot):
        if path is not None:
            print(path)


def check_systems(names: list[str]) -> None:
    """
    Raises:
        UserError: a name is no class-conditional system's.
    """
    from attnorm.config import nearest
    from attnorm.presets import SYSTEMS

    for name in names:
        if name not in SYSTEMS:
            raise UserError(f"there is no system {name!r}{nearest(name, SYSTEMS)}: choose from {', '.join(SYSTEMS)}")
