"""`attnorm visualize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attnorm.cli import arguments as cli
from attnorm.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from attnorm.pipelines import InpaintingPipeline

COUNT = 8


def visualize(
    model: cli.Model,
    image: Path | None = None,
    mask: Path | None = None,
    /,
    *,
    out: cli.OptionalImageOut = None,
    regions: Path | None = None,
    labels: cli.Labels = None,
    count: cli.AtLeast1 | None = None,
    entities: list[int] | None = None,
    seed: cli.AtLeast0 | None = None,
    force: cli.Force = False,
    source: cli.Source = cli.USUAL,
) -> None:
    """Draw the layouts that a model learned: each image, its layout in colour, and the maps of its entities.

    Args:
        image: For an inpainting model: the image to complete.
        mask: Its mask, light where pixels are missing (default: the image's transparent pixels).
        out: The sheet, such as layouts.png.
        regions: A chart of the features' mean and deviation in each region, such as regions.png.
        count: Images in all (default 8).
        entities: Whose maps the sheet shows, by number (default: all).
        seed: Of the images (default 0).
    """
    from attnorm import plots
    from attnorm.files import check_output
    from attnorm.metrics.layout import record_regions
    from attnorm.plots.saving import check_chart_name

    if out is None and regions is None:
        raise UserError("give --out for the sheet, --regions for the regions' statistics, or both")
    if regions is not None:
        check_chart_name(regions)
    for path in filter(None, (out, regions)):
        check_output(path, force)
    pipe = source.pipeline(model)
    if pipe.task == "inpainting":
        options = {"labels": labels, "count": count, "seed": seed, "regions": regions}
        cli.refuse_options(model, "inpainting", "class-conditional", **options)
        if image is None or out is None:
            raise UserError(f"{model} completes images: attnorm visualize MODEL IMAGE MASK -o SHEET.png")
        _completed(pipe, model, image, mask, out, entities)
        return
    if image is not None:
        raise UserError(f"{model} completes no images: leave {image} out")
    with record_regions(pipe.generator) as moments:
        drawn = pipe.draw(labels, count or COUNT, seed or 0, with_layouts=True)
    layouts = _checked(drawn.layouts, entities, model)
    if out is not None:
        titles = [pipe.class_names[label] for label in drawn.labels]
        plots.save_image(plots.layout_sheet(drawn.images, layouts, titles, entities), out)
        _print_usage(out, layouts)
    if regions is not None:
        [(layer, regional)] = moments.items()
        statistics = regional.statistics()
        plots.save_region_chart(statistics, regions, f"features that {layer} normalises, {len(drawn.labels)} images")
        print(f"{regions}: inside the regions, {statistics.within:.1%} of the map's variance is left")


def _completed(
    pipe: InpaintingPipeline, model: str | Path, image: Path, mask: Path | None, out: Path, entities: list[int] | None
) -> None:
    """Draws the layout of an image that an inpainting model completes."""
    from attnorm import plots
    from attnorm.cli.inpaint import errors_named, read_image
    from attnorm.data.compositing import check_mask
    from attnorm.metrics.inpainting import composite

    with errors_named(image):
        loaded, missing = read_image(image, mask)
        missing = check_mask(missing, loaded.size)
    stages = pipe.stages(loaded.rgb[None], missing[None])
    layouts = _checked(stages.layouts, entities, model)
    completed = composite(loaded.rgb[None], stages.refined, missing[None])[0]
    plots.save_image(plots.inpainting_layout_sheet(loaded.rgb, missing, completed, layouts[0], entities or ()), out)
    _print_usage(out, layouts)


def _checked(layouts: dict[str, np.ndarray], entities: list[int] | None, model: str | Path) -> np.ndarray:
    """The layouts of the model's one long-range layer."""
    if not layouts:
        raise UserError(f"{model} has no attentive normalization, so there is no layout to draw")
    [found] = layouts.values()
    cli.check_entities(entities or (), found.shape[1])
    return found


def _print_usage(sheet: Path, layouts: np.ndarray) -> None:
    """How layouts (b, n, h, w) use their entities."""
    import torch

    from attnorm.metrics.layout import layout_usage

    usage, count = layout_usage(torch.from_numpy(layouts)), layouts.shape[1]
    print(
        f"{sheet}: {count} entities, sharpness {usage.sharpness:.3f} (1 is hard, {1 / count:.3f} uniform), "
        f"{usage.effective_entities:.1f} effective entities"
    )
