"""Draw what the layers learned: each generated picture, its layout in colour, and the map of every entity."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from attnorm.errors import UserError
from attnorm.metrics.layout import layout_usage
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.plots import layout_sheet, save_picture


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a run, a saved model's folder, or ORGANISATION/NAME on the hub")
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="class names or indices; default: all classes")
    parser.add_argument("--count", type=int, default=8, metavar="N", help="pictures in all (default 8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True, help="the sheet, such as layouts.png")
    parser.add_argument("--force", action="store_true", help="overwrite an existing sheet")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")


def run(args: argparse.Namespace) -> None:
    if args.out.exists() and not args.force:
        raise UserError(f"{args.out} exists already: give --force to overwrite it, or another name")
    pipe = ClassConditionalPipeline.from_pretrained(args.model, device=args.device)
    drawn = pipe.draw(args.labels, args.count, args.seed, with_layouts=True)
    if not drawn.layouts:
        raise UserError(f"{args.model} has no attentive normalization, so there is no layout to draw")
    titles = [pipe.class_names[label] for label in drawn.labels]
    for name, layouts in drawn.layouts.items():
        path = args.out if len(drawn.layouts) == 1 else args.out.with_stem(f"{args.out.stem}-{name}")
        save_picture(layout_sheet(drawn.pictures, layouts, titles), path)
        usage = layout_usage(torch.from_numpy(layouts))
        print(
            f"{path}: {layouts.shape[1]} entities, sharpness {usage.sharpness:.3f} (1 is hard, "
            f"{1 / layouts.shape[1]:.3f} uniform), {usage.effective_entities:.1f} effective entities"
        )
