"""`attnorm interpolate`."""

from pathlib import Path
from typing import Any

from attnorm.cli import arguments as cli

FPS = 20


def interpolate(
    model: cli.Model,
    /,
    *,
    labels: cli.LabelPair,
    out: cli.ImageOut,
    frames: cli.AtLeast1 = 8,
    rows: cli.AtLeast1 = 4,
    entity: int | None = None,
    animation: Path | None = None,
    seconds: cli.Positive = 2.0,
    seed: cli.Seed = 0,
    force: cli.Force = False,
    source: cli.Source = cli.USUAL,
) -> None:
    """Interpolate between two classes at fixed noise; write a sheet and, optionally, a video.

    If the model has a layout, the map of one entity is below each image.

    Args:
        labels: The two classes, names or indices.
        out: The sheet, such as sheet.png.
        frames: Number of images from the first class to the second.
        rows: Number of noise vectors, one per row.
        entity: The entity whose map is shown, by number (default: the one that varies most).
        animation: Also write a video to FILE.gif or FILE.mp4.
        seconds: Time in the video from the first class to the second, before it runs back.
    """
    from attnorm import plots
    from attnorm.files import check_output
    from attnorm.metrics.layout import most_varying_entity
    from attnorm.pipelines.class_conditional import Generated
    from attnorm.plots.saving import ANIMATIONS, check_ending

    check_output(out, force)
    if animation is not None:
        check_ending(animation, "an animation", ANIMATIONS)
        check_output(animation, force)
    pipe = source.pipeline(model, "class-conditional")
    drawn = pipe.interpolate(*labels, frames, rows, seed)
    layout = next(iter(drawn.layouts.values()), None)  # a generator has one long-range layer at most
    cli.check_entities([] if entity is None else [entity], 0 if layout is None else layout.shape[2])
    if layout is not None and entity is None:
        entity = most_varying_entity(layout)

    def shown(drawn: Generated) -> tuple[Any, ...]:
        maps = next((layout[:, :, entity] for layout in drawn.layouts.values()), None)
        return drawn.images, [pipe.class_names[label] for label in drawn.labels], maps, entity

    plots.save_image(plots.interpolation_sheet(*shown(drawn)), out)
    print(out if entity is None else f"{out}: with the maps of entity {entity}")
    if animation is not None:
        drawn = pipe.interpolate(*labels, round(seconds * FPS) + 1, rows, seed)
        there = list(plots.interpolation_frames(*shown(drawn)))
        plots.save_animation(there + there[-2:0:-1], animation, FPS)
        print(animation)
