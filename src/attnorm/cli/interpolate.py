"""`attnorm interpolate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from attnorm.cli.arguments import AtLeast1, Device, Force, ImageOut, LabelPair, Model, Seed
from attnorm.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from attnorm.pipelines.class_conditional import Interpolated

FPS = 20


def interpolate(
    model: Model,
    /,
    *,
    labels: LabelPair,
    out: ImageOut,
    frames: Annotated[int, Parameter(validator=Number(gte=2))] = 8,
    rows: AtLeast1 = 4,
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
    from attnorm import plots
    from attnorm.files import check_output
    from attnorm.pipelines import ClassConditionalPipeline
    from attnorm.plots.saving import check_animation_name

    check_output(out, force)
    if animation is not None:
        check_animation_name(animation)
        check_output(animation, force)
    pipe = ClassConditionalPipeline.from_pretrained(model, device=device)

    def draw(count: int) -> Interpolated:
        return pipe.interpolate(*labels, count, rows, seed, with_layouts=True)

    drawn = draw(frames)
    names = pipe.class_names[drawn.labels[0]], pipe.class_names[drawn.labels[1]]
    maps, shown = _maps(drawn, entity)
    plots.save_image(plots.interpolation_sheet(drawn.images, drawn.shares.tolist(), names, maps, shown), out)
    print(out if shown is None else f"{out}: with the maps of entity {shown}")
    if animation is not None:
        video = draw(round(seconds * FPS) + 1)
        maps, _ = _maps(video, shown)
        there = list(plots.interpolation_frames(video.images, video.shares.tolist(), names, maps, shown))
        plots.save_animation(there + there[-2:0:-1], animation, FPS)
        print(animation)


def _maps(drawn: Interpolated, entity: int | None) -> tuple[np.ndarray | None, int | None]:
    """The maps (rows, frames, h, w) of an entity, by default of the one that varies most, and which it is."""
    from attnorm.metrics.layout import most_varying_entity

    for layout in drawn.layouts.values():  # a generator has one long-range layer at most
        count = layout.shape[2]
        chosen = most_varying_entity(layout) if entity is None else entity
        if not 0 <= chosen < count:
            raise UserError(f"there is no entity {chosen}: they are 0 to {count - 1}")
        return layout[:, :, chosen], chosen
    if entity is not None:
        raise UserError("the model has no attentive normalization and so no entities: leave --entity out")
    return None, None
