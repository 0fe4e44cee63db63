"""`attnorm generate`."""

import math
import re

from attnorm.cli.arguments import USUAL, AtLeast1, Force, Labels, Model, Out, Positive, Seed, Source
from attnorm.errors import UserError, counted

PER_CLASS = 8
PIECE = 1024  # images in memory


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
    truncation: Positive | None = None,
    source: Source = USUAL,
) -> None:
    """Generate images of given classes.

    Args:
        out: GRID.png, or a folder for one file per image.
        per_class: Images of each class, a row of the grid (default 8).
        count: Total number of images, with classes in turn, instead of --per-class.
        truncation: Limit of the noise: 0.7 gives more typical and less varied images (default: none).
        force: Overwrite a grid, or write into a folder that is not empty and remove images of an earlier call from it.
    """
    import numpy as np
    import torch

    from attnorm import plots
    from attnorm.files import check_folder, check_output
    from attnorm.plots.saving import check_image_name

    if count is not None and per_class is not None:
        raise UserError("give either --count, the images in all, or --per-class")
    if out.suffix:
        check_image_name(out)
        check_output(out, force)
    else:
        check_folder(out)
        if out.exists() and any(out.iterdir()) and not force:
            raise UserError(f"{out} exists already: give --force to overwrite it, or another name")
    pipe = source.pipeline(model, "class-conditional")
    classes, repeats = pipe.indices(labels), per_class or PER_CLASS
    wanted = [label for label in classes for _ in range(repeats)]
    if count:
        wanted = [classes[i % len(classes)] for i in range(count)]
    if out.suffix:
        images = np.stack(pipe(wanted, seed=seed, truncation=truncation))
        names = [pipe.class_names[index] for index in classes]
        columns = math.ceil(math.sqrt(len(images))) if count else repeats
        plots.save_image(plots.label_grid(images, [] if count else names, columns), out)
        print(out)
        return
    names = ["".join(c if c.isalnum() else "-" for c in name) for name in pipe.class_names]
    files = [out / f"{number:05d}-{names[label]}.png" for number, label in enumerate(wanted)]
    noise = torch.Generator().manual_seed(seed)
    for first in range(0, len(files), PIECE):
        piece = slice(first, first + PIECE)
        for file, image in zip(files[piece], pipe(wanted[piece], generator=noise, truncation=truncation), strict=True):
            plots.save_image(np.asarray(image), file)
    for path in {*out.iterdir()} - {*files}:  # the images of an earlier call, and nothing else
        if re.fullmatch(rf"\d{{5,6}}-({'|'.join(map(re.escape, names))})\.png", path.name):
            path.unlink()
    print(f"{counted(len(files), 'image')} in {out}")
