"""`attnorm generate`."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from attnorm.cli.arguments import AtLeast1, Device, Force, Labels, Model, Out, Seed
from attnorm.errors import UserError

PER_CLASS = 8


def generate(
    model: Model,
    /,
    *,
    out: Out,
    labels: Labels = None,
    per_class: AtLeast1 | None = None,
    count: AtLeast1 | None = None,
    seed: Seed = 0,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """Generate images of classes.

    Args:
        out: A grid as GRID.png, or a folder for one file per image.
        per_class: Images of each class; in a grid a row is a class (default 8).
        count: Images in all, of the classes in turn, instead of --per-class.
        force: Overwrite an existing grid, or the images of an earlier call.
    """
    from attnorm.data.progress import track
    from attnorm.files import check_output
    from attnorm.pipelines import ClassConditionalPipeline, check_count
    from attnorm.plots import enlarge, grid, label_grid, save_picture
    from attnorm.plots.saving import check_picture_name

    if count is not None and per_class is not None:
        raise UserError("give either --count, the images in all, or --per-class")
    as_grid = bool(out.suffix)
    if as_grid:
        check_picture_name(out)
        check_output(out, force)
    else:
        _check_folder(out, force)
    pipe = ClassConditionalPipeline.from_pretrained(model, device=device)
    classes = pipe.indices(labels)
    if count is None:
        repeats = per_class or PER_CLASS
        check_count(repeats * len(classes))
        wanted = [index for index in classes for _ in range(repeats)]
    else:
        check_count(count)
        wanted = [classes[i % len(classes)] for i in range(count)]
    if as_grid:
        images = pipe.draw(wanted, seed=seed).pictures
        if count is None:
            sheet = label_grid(images, [pipe.class_names[index] for index in classes], columns=repeats)
        else:
            sheet = grid(enlarge(images), math.ceil(math.sqrt(count)))
        save_picture(sheet, out)
        print(out)
        return
    files = [f"{number:05d}-{_file_name(pipe.class_names[label])}.png" for number, label in enumerate(wanted)]
    images_and_labels = track(pipe.stream(wanted, seed=seed), "generating", len(files))
    for (image, _), file in zip(images_and_labels, files, strict=True):
        save_picture(image, out / file)
    _remove_earlier(out, files)
    print(f"{len(files)} images in {out}")


def _check_folder(folder: Path, force: bool) -> None:
    from attnorm.files import check_folder

    is_empty = folder.is_dir() and not any(folder.iterdir())
    if os.path.lexists(folder) and not is_empty and not force:
        raise UserError(f"{folder} exists already: give --force to overwrite it, or another name")
    check_folder(folder)


def _remove_earlier(folder: Path, files: list[str]) -> None:
    """Removes the images that an earlier call left in `folder`, and nothing else."""
    for path in folder.iterdir():
        if re.fullmatch(r"\d{5,}-.*\.png", path.name) and path.name not in files:
            path.unlink()


def _file_name(class_name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in class_name)
