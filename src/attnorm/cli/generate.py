"""Draw pictures from a trained run, a saved model or a model of the hub."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from attnorm.cli.arguments import file_path
from attnorm.cli.model_argument import add_model
from attnorm.data.progress import track
from attnorm.errors import UserError
from attnorm.files import check_folder, check_output
from attnorm.pipelines import ClassConditionalPipeline, check_count
from attnorm.plots import label_grid, save_picture
from attnorm.plots.saving import check_picture_name


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="class names or indices; default: all classes")
    parser.add_argument("--count", type=int, default=8, metavar="N", help="pictures of each label (default 8)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=file_path, required=True, help="a grid as GRID.png, or a folder for files")
    parser.add_argument(
        "--force", action="store_true", help="replace an existing grid, or the pictures of an earlier call"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")


def run(args: argparse.Namespace) -> None:
    if args.count < 1:
        raise UserError(f"--count must be at least 1, got {args.count}")
    as_grid = bool(args.out.suffix)
    if as_grid:
        check_picture_name(args.out)
        check_output(args.out, args.force)
    else:
        _check_folder(args.out, args.force)
    pipe = ClassConditionalPipeline.from_pretrained(args.model, device=args.device)
    indices = pipe.indices(args.labels)
    check_count(args.count * len(indices))
    repeated = [index for index in indices for _ in range(args.count)]
    if as_grid:
        names = [pipe.class_names[index] for index in indices]
        save_picture(label_grid(pipe.draw(repeated, seed=args.seed).pictures, names, columns=args.count), args.out)
        print(args.out)
        return
    files = [f"{number:05d}-{_file_name(pipe.class_names[label])}.png" for number, label in enumerate(repeated)]
    drawn = track(pipe.stream(repeated, seed=args.seed), "drawing", len(files))
    for (picture, _), file in zip(drawn, files, strict=True):
        save_picture(picture, args.out / file)
    _remove_earlier(args.out, files)
    print(f"{len(files)} pictures in {args.out}")


def _check_folder(folder: Path, force: bool) -> None:
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if os.path.lexists(folder) and not is_empty and not force:
        raise UserError(f"{folder} exists already: give --force to overwrite it, or another name")
    check_folder(folder)


def _remove_earlier(folder: Path, files: list[str]) -> None:
    """Removes the pictures that an earlier call left in `folder`, and nothing else: `files` are this call's."""
    kept = set(files)
    for path in folder.iterdir():
        if re.fullmatch(r"\d{5,}-.*\.png", path.name) and path.name not in kept:
            path.unlink()


def _file_name(class_name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in class_name)
