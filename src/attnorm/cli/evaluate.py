"""Measure a trained model: a table, a JSON record, and a sheet of pictures.

A class-conditional model's pictures are compared with real ones as sets. An inpainting model completes validation
images with centred and random squares and with strokes missing, beside fills that it has to beat.
"""

from __future__ import annotations

import argparse

from attnorm.cli import evaluate_generator, evaluate_inpainter
from attnorm.cli.arguments import file_path, path_or_name
from attnorm.cli.measured_model import add_weights
from attnorm.cli.model_argument import add_model
from attnorm.distributed import launched_group
from attnorm.errors import UserError
from attnorm.metrics.features import EFFICIENTNET, INCEPTION
from attnorm.metrics.registry import known_metrics
from attnorm.models.pretrained import task_of

OWN = {
    "class-conditional": ("num_real", "frequencies", "per_class", "classes"),
    "inpainting": ("window", "size", "masks"),
}  # options of one task


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    add_weights(parser)
    parser.add_argument(
        "--data", type=path_or_name, help="the real pictures: whatever attnorm train takes (default: the run's own)"
    )
    parser.add_argument("--split", metavar="NAME", help="what --data is, for the record (default: its file name)")
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="METRIC",
        help=f"one or more of {', '.join(sorted(known_metrics()))} (default fd; for inpainting none, as PSNR, SSIM and "
        "absolute errors are always measured)",
    )
    parser.add_argument(
        "--extractor",
        default=EFFICIENTNET,
        help=f"{EFFICIENTNET} (default), {INCEPTION}, or the path of the Inception file; only with it fd is a FID",
    )
    parser.add_argument(
        "--num", type=int, metavar="N", help="pictures to generate (default 5000), or to complete (default: all)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=file_path, metavar="FILE.json", help="default: a file in the run's folder metrics/"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing record")
    parser.add_argument("--json", action="store_true", help="print the record instead of tables, for a script to read")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    evaluate_generator.configure(parser.add_argument_group("class-conditional models"))
    evaluate_inpainter.configure(parser.add_argument_group("inpainting models"))


def run(args: argparse.Namespace) -> None:
    with launched_group(args.device) as device:  # first of all: who left before would keep the others waiting
        task = task_of(args.model) or "class-conditional"  # of a damaged one its loader says so
        for other, names in OWN.items():
            for name in names:
                if other != task and getattr(args, name) is not None:
                    raise UserError(
                        f"--{name.replace('_', '-')} is for {other} models, and {args.model} is {task}: leave it out"
                    )
        (evaluate_inpainter if task == "inpainting" else evaluate_generator).run(args, device)
