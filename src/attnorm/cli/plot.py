"""Learning curves and metrics of runs in one picture: a panel a figure, a colour a run."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from attnorm.cli.arguments import file_path
from attnorm.config import nearest
from attnorm.errors import UserError
from attnorm.files import check_output
from attnorm.plots.charts import check_chart_name
from attnorm.plots.curves import Curve, save_curves
from attnorm.training.history import Figure, as_arrays, measured_figures, read_history

# Shown unless --figures asks for others, besides the metrics: what tells whether a run goes well.
DEFAULT = ("loss*", "*.effective_entities", "*.sharpness")
# Measured figures that are not: of inpainting, the fills that are there to compare with, and absolute errors, of which
# L1 is what training minimises.
DETAILS = ("phase", "coarse.*", "mean colour.*", "Telea.*", "*.mae*", "*.hole_mae*")
HALF_LIFE_SHARE = 0.02  # of the longest run, for smoothing
Runs = dict[str, dict[str, Curve]]


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", type=file_path, metavar="RUN", help="runs' folders, in the order of the legend"
    )
    parser.add_argument("-o", "--out", type=file_path, required=True, help="the chart: curves.png, .svg or .pdf")
    parser.add_argument(
        "--figures",
        nargs="+",
        metavar="NAME",
        help="names or patterns such as 'score_*', in the order of the panels; default: the metrics (of inpainting "
        "L1 and the refined pictures' PSNR and SSIM), the losses, sharpness and effective entities",
    )
    parser.add_argument("--names", nargs="+", metavar="NAME", help="of the runs in the legend; default: their folders'")
    parser.add_argument(
        "--smooth",
        type=float,
        metavar="STEPS",
        help="half-life of the average over the log; 0 for none; default: 2 %% of the longest run",
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing chart")


def run(args: argparse.Namespace) -> None:
    check_chart_name(args.out)
    check_output(args.out, args.force)
    if args.smooth is not None and not 0 <= args.smooth < float("inf"):
        raise UserError(f"--smooth must be 0 or a number of steps, got {args.smooth:g}")
    names = _legend_names(args.runs, args.names)
    histories = [read_history(path) for path in args.runs]
    for history in histories:
        for sentence in history.skipped:
            print(sentence, file=sys.stderr)
    metrics = measured_figures(histories)
    runs = {name: _curves(history.log, each) for name, history, each in zip(names, histories, metrics, strict=True)}
    figures = _choose(runs, args.figures)
    longest = max(curve.steps[-1] for curves in runs.values() for curve in curves.values())
    half_life = float(f"{HALF_LIFE_SHARE * longest:.2g}") if args.smooth is None else args.smooth
    save_curves(runs, figures, args.out, half_life)
    print(f"{args.out}: {', '.join(figures)}")
    others = sorted({figure for curves in runs.values() for figure in curves} - set(figures))
    if others and args.figures is None:
        print(f"--figures can also show: {', '.join(others)}")


def _curves(log: dict[str, Figure], metrics: dict[str, Figure]) -> dict[str, Curve]:
    curves = {name: Curve(*as_arrays(figure)) for name, figure in log.items()}
    return curves | {name: Curve(*as_arrays(figure), measured=True) for name, figure in metrics.items()}


def _choose(runs: Runs, patterns: Sequence[str] | None) -> list[str]:
    """The figures that the patterns name, in their order, or the default ones: metrics first."""
    curves = {name: curve for each in runs.values() for name, curve in each.items()}
    if patterns is None:
        metrics = [name for name, curve in curves.items() if curve.measured]
        details = set(_matching(metrics, DETAILS))
        metrics = [name for name in metrics if name not in details]
        return list(dict.fromkeys(metrics + _matching(curves, DEFAULT))) or list(curves)
    for pattern in patterns:
        if not _matching(curves, [pattern]):
            raise UserError(
                f"no run has a figure {pattern!r}{nearest(pattern, curves)} (there are {', '.join(curves)})"
            )
    return _matching(curves, patterns)


def _matching(curves: Collection[str], patterns: Sequence[str]) -> list[str]:
    """Every figure that a pattern names, once; a figure's whole name means that one, whatever letters are in it."""
    found = ([pattern] if pattern in curves else fnmatch.filter(curves, pattern) for pattern in patterns)
    return list(dict.fromkeys(name for names in found for name in names))


def _legend_names(runs: Sequence[Path], given: Sequence[str] | None) -> list[str]:
    """The names asked for, or the shortest ends of the runs' paths that tell them apart."""
    resolved = [path.resolve() for path in runs]
    if len(set(resolved)) < len(resolved):
        raise UserError("a run is named twice: give each run once")
    if given is None:
        for depth in range(1, max(len(path.parts) for path in resolved) + 1):
            names = ["/".join(path.parts[-depth:]) for path in resolved]
            if len(set(names)) == len(names):
                break
        return names
    if len(given) != len(runs):
        raise UserError(f"--names has {len(given)} names for {len(runs)} runs: give one for each")
    if len(set(given)) < len(given):
        raise UserError("--names has a name twice: names must differ")
    return list(given)
