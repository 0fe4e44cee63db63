"""`attnorm visualize` of an inpainting model: its layout over a picture that it completes."""

from __future__ import annotations

import argparse

import numpy as np

from attnorm.cli.layouts import check_entities, drawn_usage, no_layout
from attnorm.cli.pictures import read_mask, read_picture
from attnorm.data.compositing import check_mask
from attnorm.data.decode import DecodeError, pillow_quiet
from attnorm.errors import UserError
from attnorm.files import check_output
from attnorm.inpainting_pipeline import InpaintingPipeline
from attnorm.memory import check_memory
from attnorm.metrics.inpainting import composite
from attnorm.plots import save_picture
from attnorm.plots.inpainting import inpainting_layout_sheet
from attnorm.plots.saving import check_picture_name

OF_GENERATORS = ("labels", "count", "seed", "regions")


def run(args: argparse.Namespace) -> None:
    _check(args)
    picture, hole = _read(args)
    pipe = InpaintingPipeline.from_pretrained(args.model, device=args.device)
    if pipe.generator.config.branch.kind != "attentive_norm":
        raise no_layout(args.model)
    plan = pipe.plan(hole, "native")  # a layout is one of the whole picture
    if args.device == "cpu":
        height, width = hole.shape
        check_memory(plan.memory, f"a layout of {width}×{height} pixels", "scale the picture down")
    stages = pipe.stages(picture[None], hole[None])
    [layouts] = stages.layouts.values()  # the branch has one layer
    check_entities(args.entities, layouts)
    completed = composite(picture[None], stages.refined, hole[None])[0]
    save_picture(inpainting_layout_sheet(picture, hole, completed, layouts[0], args.entities or ()), args.out)
    print(drawn_usage(args.out, layouts))


def _check(args: argparse.Namespace) -> None:
    for name in OF_GENERATORS:
        if getattr(args, name) is not None:
            raise UserError(f"--{name} is for class-conditional models, and {args.model} is inpainting: leave it out")
    if args.image is None:
        raise UserError(f"{args.model} completes pictures: attnorm visualize MODEL IMAGE MASK -o SHEET.png")
    check_picture_name(args.out)
    check_output(args.out, args.force)


def _read(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """The picture (h, w, 3) uint8 and its hole (h, w) bool."""
    with pillow_quiet():
        try:
            picture = read_picture(args.image)
            mask = picture.transparent() if args.mask is None else read_mask(args.mask)
            return picture.rgb, check_mask(mask, picture.size)
        except DecodeError as error:
            raise UserError(f"{args.image}: {error}") from error
