"""`attnorm interpolate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from attnorm.cli.arguments import Device, Force, Label, Model, Out, Seed
from attnorm.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from attnorm.pipelines import Interpolated

FPS = 20


def interpolate(
    model: Model,
    /,
    *,
    labels: tuple[Label, Label],
    out: Out,
    frames: Annotated[int, Parameter(validator=Number(gte=2))] = 8,
    rows: Annotated[int, Parameter(validator=Number(gte=1))] = 4,
    entity: int | None = None,
    animation: Path | None = None,
    seconds: Annotated[float, Parameter(validator=Number(gte=0.1, lte=60))] = 2.0,
    seed: Seed = 0,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """Interpolate between two classes at fixed noise, as a sheet and a video.

    Where the model has a layout, each image has the map of one entity below it.

    Args:
        labels: The two classes, names or indices.
        out: The sheet, such as sheet.png.
        frames: Images from the first class to the second.
        rows: Noise vectors, a row each.
        entity: Whose map is shown (default: the one that varies most).
        animation: Also write a video there, FILE.gif or FILE.mp4.
        seconds: From the first class to the second in the video; then it goes back.
    """
    from attnorm.files import check_output
    from attnorm.pipelines import ClassConditionalPipeline
    from attnorm.plots import interpolation_frames, interpolation_sheet, save_animation, save_picture
    from attnorm.plots.animation import check_film_name
    from attnorm.plots.saving import check_picture_name

    check_picture_name(out)
    if animation is not None:
        check_film_name(animation)
        check_output(animation, force)
    if out == animation:
        raise UserError(f"--out and --animation are both {out}: give them different names")
    check_output(out, force)
    pipe = ClassConditionalPipeline.from_pretrained(model, device=device)

    def draw(count: int) -> Interpolated:
        return pipe.interpolate(*labels, count, rows, seed, with_layouts=True, progress=True)

    drawn = draw(frames)
    shown = _entity(entity, drawn, model)
    names = pipe.class_names[drawn.labels[0]], pipe.class_names[drawn.labels[1]]
    save_picture(interpolation_sheet(drawn.pictures, drawn.shares.tolist(), names, _maps(drawn, shown), shown), out)
    print(out if shown is None else f"{out}: with the maps of entity {shown}")
    if animation is not None:
        video = draw(round(seconds * FPS) + 1)
        there = list(interpolation_frames(video.pictures, video.shares.tolist(), names, _maps(video, shown), shown))
        save_animation(there + there[-2:0:-1], animation, FPS)
        print(animation)


def _entity(asked: int | None, drawn: Interpolated, model: object) -> int | None:
    """The entity to show, None where the model has no layout."""
    from attnorm.plots.interpolation import liveliest_entity

    if not drawn.layouts:
        if asked is not None:
            raise UserError(f"{model} has no attentive normalization and so no entities: leave --entity out")
        return None
    [layout] = drawn.layouts.values()  # a generator has one long-range layer
    if asked is None:
        return liveliest_entity(layout)
    if not 0 <= asked < layout.shape[2]:
        raise UserError(f"there is no entity {asked}: they are 0 to {layout.shape[2] - 1}")
    return asked


def _maps(drawn: Interpolated, entity: int | None) -> np.ndarray | None:
    """The maps (rows, frames, h, w) of one entity."""
    if entity is None:
        return None
    [layout] = drawn.layouts.values()
    return layout[:, :, entity]
