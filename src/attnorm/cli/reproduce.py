"""Train and measure the systems of a table of the paper, and write ours beside the paper's figures."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path

from attnorm.cli.arguments import file_path, path_or_name
from attnorm.data.builtin import BUILTIN
from attnorm.data.loading import check_exists
from attnorm.data.progress import report
from attnorm.errors import UserError
from attnorm.files import check_folder, output_file
from attnorm.metrics.features import load_extractor
from attnorm.reproduction.paper import INPAINTING_SCALES, SCALES, TABLES
from attnorm.reproduction.report import write_report
from attnorm.reproduction.runs import Reproduction, make_runs

LARGEST_SEED = 1 << 32  # of a run


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", choices=TABLES, help="which table of the paper")
    parser.add_argument(
        "--scale",
        choices=list(SCALES | INPAINTING_SCALES),
        default="cpu",
        help="size of networks and training (default cpu)",
    )
    parser.add_argument(
        "--data", type=path_or_name, help="pictures to train on (at scale cpu by default built-in ones)"
    )
    parser.add_argument("--out", type=file_path, required=True, metavar="FOLDER", help="for runs and TABLE.md")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="default 0")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of every run (default: the presets' own)")
    parser.add_argument(
        "--lr-schedule",
        choices=("linear", "cosine"),
        help="how every run's learning rates fall to 0 at the end of each phase (default: the presets' own)",
    )
    parser.add_argument("--extractor", help="network of the metrics (default: the scale's)")
    parser.add_argument("--num", type=int, metavar="N", help="pictures to measure with (default: the scale's)")
    parser.add_argument(
        "--per-class", type=int, metavar="N", help="images per class of an intra-FID (default: the scale's)"
    )
    parser.add_argument(
        "--val-data", type=path_or_name, help="of table3: validation pictures (default: a share of the data held out)"
    )
    parser.add_argument(
        "--phase-1-steps",
        type=int,
        metavar="N",
        help="of table3: steps before the adversarial loss (default: converged)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--launcher", metavar="COMMAND", help="torchrun with its options, for several processes (default: one)"
    )


def run(args: argparse.Namespace) -> int:
    table = TABLES[args.table]
    if args.scale not in table.scales:
        raise UserError(f"--scale {args.scale} is not one of {args.table}: choose from {', '.join(table.scales)}")
    if table.task == "inpainting" and args.extractor:
        raise UserError(f"{args.table} needs no feature network: leave --extractor out")
    if table.task != "inpainting" and (args.val_data or args.phase_1_steps is not None):
        raise UserError(f"--val-data and --phase-1-steps are for table3: leave them out of {args.table}")
    if args.phase_1_steps is not None and args.phase_1_steps < 0:
        raise UserError(f"--phase-1-steps must be at least 0, got {args.phase_1_steps}")
    scale = table.scales[args.scale]
    source = args.data or scale.source
    if source is None:
        raise UserError(f"--scale {args.scale} needs --data: the pictures to train on")
    for name in ("steps", "num", "per_class"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if len(set(args.seeds)) < len(args.seeds):
        raise UserError(f"--seeds names a seed twice: {' '.join(map(str, args.seeds))}")
    for seed in args.seeds:
        if not 0 <= seed < LARGEST_SEED:
            raise UserError(f"--seeds must be from 0 to 2^32 - 1, got {seed}")
    for place in filter(None, (source, args.val_data)):
        if place not in BUILTIN:
            check_exists(Path(place))
    check_folder(args.out)
    plan = Reproduction(
        table=args.table,
        scale=args.scale,
        out=args.out,
        source=source,
        seeds=tuple(args.seeds),
        steps=args.steps,
        lr_schedule=args.lr_schedule,
        extractor=args.extractor or scale.extractor,
        num=scale.num if args.num is None else args.num,
        device=args.device,
        val_source=args.val_data or "",
        phase_1_steps=args.phase_1_steps,
        per_class=args.per_class,
        # Without the dashes torchrun would take our options for abbreviations of its own.
        launcher=(*_launcher(args.launcher), "-m", "--") if args.launcher else (sys.executable, "-m"),
    )
    if plan.extractor and not all(
        plan.is_measured(run, plan.config(name, seed).steps) for name, seed, run in plan.runs()
    ):
        with report() as progress:  # what is wrong with the network shows now, not after days of training
            load_extractor(plan.extractor, progress=progress)
    code = make_runs(plan, lambda sentence: print(sentence, flush=True), lambda: _write(plan))
    _write(plan)
    print(write_report(plan))
    print(_path(plan))
    return code


def _launcher(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--launcher {text!r} cannot be read ({error}): close its quotation marks") from error
    if not words or shutil.which(words[0]) is None:
        raise UserError(f"--launcher {text!r}: there is no such program here, give one such as torchrun")
    return words


def _path(plan: Reproduction) -> Path:
    return plan.out / f"{plan.table}.md"


def _write(plan: Reproduction) -> None:
    with output_file(_path(plan)) as partial:
        partial.write_text(write_report(plan), encoding="utf-8")
