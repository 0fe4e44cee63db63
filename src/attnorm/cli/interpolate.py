"""Go from one class to another at fixed noise: a sheet of the pictures on the way, each with one entity's map below it,
and a film.
"""

from __future__ import annotations

import argparse

import numpy as np

from attnorm.cli.arguments import file_path
from attnorm.cli.model_argument import add_model
from attnorm.errors import UserError
from attnorm.files import check_output
from attnorm.pipelines import ClassConditionalPipeline, Interpolated
from attnorm.plots import interpolation_frames, interpolation_sheet, save_animation, save_picture
from attnorm.plots.interpolation import liveliest_entity
from attnorm.plots.saving import check_film_name, check_picture_name

FPS = 20
AUTO = "auto"


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--labels", nargs=2, metavar=("A", "B"), required=True, help="class names or indices")
    parser.add_argument("--frames", type=int, default=8, metavar="N", help="pictures from A to B (default 8)")
    parser.add_argument("--rows", type=int, default=4, metavar="N", help="how many noises, a row each (default 4)")
    parser.add_argument(
        "--entity",
        metavar="K",
        help="whose map is shown, or auto (the default, where there is a layout): the one that varies most in all rows",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=file_path, required=True, help="the sheet, such as sheet.png")
    parser.add_argument("--animation", type=file_path, metavar="FILM", help="also a film: FILM.gif, or FILM.mp4")
    parser.add_argument("--seconds", type=float, default=2.0, help="of the film, from A to B (default 2); then back")
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")


def run(args: argparse.Namespace) -> None:
    _check_files(args)
    pipe = ClassConditionalPipeline.from_pretrained(args.model, device=args.device)
    first, second = args.labels

    def draw(frames: int) -> Interpolated:
        return pipe.interpolate(first, second, frames, args.rows, args.seed, with_layouts=True, progress=True)

    drawn = draw(args.frames)
    entity = _entity(args.entity, drawn, args.model)
    names = pipe.class_names[drawn.labels[0]], pipe.class_names[drawn.labels[1]]
    sheet = interpolation_sheet(drawn.pictures, drawn.shares.tolist(), names, _maps(drawn, entity), entity)
    save_picture(sheet, args.out)
    print(args.out if entity is None else f"{args.out}: with the maps of entity {entity}")
    if args.animation is not None:
        film = draw(round(args.seconds * FPS) + 1)
        there = list(interpolation_frames(film.pictures, film.shares.tolist(), names, _maps(film, entity), entity))
        save_animation(there + there[-2:0:-1], args.animation, FPS)
        print(args.animation)


def _check_files(args: argparse.Namespace) -> None:
    """Finds out before anything is drawn whether both files can be made."""
    check_picture_name(args.out)
    if args.animation is not None:
        check_film_name(args.animation)
        if not 0.1 <= args.seconds <= 60:
            raise UserError(f"--seconds must be from 0.1 to 60, got {args.seconds:g}")
    if args.out == args.animation:
        raise UserError(f"-o and --animation are both {args.out}: give them different names")
    for path in (args.out, args.animation):
        if path is not None:
            check_output(path, args.force)


def _entity(asked: str | None, drawn: Interpolated, model: str) -> int | None:
    """The number of the entity to show, or None where the model has no layout."""
    if not drawn.layouts:
        if asked is not None:
            raise UserError(f"{model} has no attentive normalization and so no entities: leave --entity out")
        return None
    layout = _layout(drawn)
    if asked in (None, AUTO):
        return liveliest_entity(layout)
    last = layout.shape[2] - 1
    known = {str(entity): entity for entity in range(last + 1)}
    if asked not in known:
        raise UserError(f"there is no entity {asked}: they are 0 to {last}, or auto")
    return known[asked]


def _maps(drawn: Interpolated, entity: int | None) -> np.ndarray | None:
    return None if entity is None else _layout(drawn)[:, :, entity]


def _layout(drawn: Interpolated) -> np.ndarray:
    """A generator has one long-range layer."""
    [layout] = drawn.layouts.values()
    return layout
