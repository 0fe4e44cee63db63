"""`attnorm generate`."""

from __future__ import annotations

import math
import re

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
    from attnorm import plots
    from attnorm.data.progress import track
    from attnorm.files import check_folder, check_output
    from attnorm.pipelines.class_conditional import ClassConditionalPipeline
    from attnorm.plots.saving import check_image_name

    if count is not None and per_class is not None:
        raise UserError("give either --count, the images in all, or --per-class")
    as_grid = bool(out.suffix)
    if as_grid:
        check_image_name(out)
        check_output(out, force)
    else:
        if out.exists() and not force and not (out.is_dir() and not any(out.iterdir())):
            raise UserError(f"{out} exists already: give --force to overwrite it, or another name")
        check_folder(out)
    pipe = ClassConditionalPipeline.from_pretrained(model, device=device)
    classes = pipe.indices(labels)
    repeats = per_class or PER_CLASS
    total = count or repeats * len(classes)
    wanted = [classes[i % len(classes)] if count else classes[i // repeats] for i in range(total)]
    if as_grid:
        images = pipe.draw(wanted, seed=seed).images
        if count:
            sheet = plots.grid(plots.enlarge(images), math.ceil(math.sqrt(count)))
        else:
            sheet = plots.label_grid(images, [pipe.class_names[index] for index in classes], repeats)
        plots.save_image(sheet, out)
        print(out)
        return
    files = [f"{number:05d}-{_file_name(pipe.class_names[label])}.png" for number, label in enumerate(wanted)]
    images_and_labels = track(pipe.stream(wanted, seed=seed), "generating", total)
    for (image, _), file in zip(images_and_labels, files, strict=True):
        plots.save_image(image, out / file)
    for path in out.iterdir():  # the images of an earlier call, and nothing else
        if re.fullmatch(r"\d{5,}-.*\.png", path.name) and path.name not in files:
            path.unlink()
    print(f"{total} images in {out}")


def _file_name(class_name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in class_name)
