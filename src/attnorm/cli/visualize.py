"""`attnorm visualize`."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnorm.cli.arguments import AtLeast0, AtLeast1, Device, Force, Labels, Model, OptionalImageOut, print_table
from attnorm.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from attnorm.metrics.layout import RegionStatistics

COUNT = 8


def visualize(
    model: Model,
    image: Path | None = None,
    mask: Path | None = None,
    /,
    *,
    out: OptionalImageOut = None,
    regions: Path | None = None,
    labels: Labels = None,
    count: AtLeast1 | None = None,
    entities: list[int] | None = None,
    seed: AtLeast0 | None = None,
    force: Force = False,
    device: Device = "cpu",
) -> None:
    """Draw the layouts that a model learned: each image, its layout in colour, and the maps of its entities.

    Args:
        image: For an inpainting model: the image to complete.
        mask: Its mask, light where pixels are missing (default: the image's transparent pixels).
        out: The sheet, such as layouts.png.
        regions: Also measure mean and deviation of the features in each region: a chart such as regions.png, with the
            numbers as .json beside it.
        count: Images in all (default 8).
        entities: Whose maps the sheet shows, by number (default: all).
        seed: Of the images (default 0).
    """
    from attnorm import plots
    from attnorm.files import check_output
    from attnorm.metrics.layout import record_regions
    from attnorm.models.pretrained import task_of
    from attnorm.pipelines import ClassConditionalPipeline
    from attnorm.plots.saving import check_chart_name

    if out is None and regions is None:
        raise UserError("give --out for the sheet, --regions for the regions' statistics, or both")
    if out is not None:
        check_output(out, force)
    if regions is not None:
        check_chart_name(regions)
        check_output(regions, force)
        check_output(regions.with_suffix(".json"), force)
    if task_of(model) == "inpainting":
        for name, value in {"labels": labels, "count": count, "seed": seed, "regions": regions}.items():
            if value is not None:
                raise UserError(f"--{name} is for class-conditional models, and {model} is inpainting: leave it out")
        if image is None or out is None:
            raise UserError(f"{model} completes images: attnorm visualize MODEL IMAGE MASK -o SHEET.png")
        layouts, sheet = _completed(model, image, mask, entities, device)
    else:
        if image is not None:
            raise UserError(f"{model} completes no images: leave {image} out")
        pipe = ClassConditionalPipeline.from_pretrained(model, device=device)
        with ExitStack() as stack:
            recorded = {} if regions is None else stack.enter_context(record_regions(pipe.generator))
            drawn = pipe.draw(labels, count or COUNT, seed or 0, with_layouts=True)
        layouts = _checked(drawn.layouts, entities, model)
        titles = [pipe.class_names[label] for label in drawn.labels]
        sheet = plots.layout_sheet(drawn.images, layouts, titles, entities)
    if out is not None:
        plots.save_image(sheet, out)
        _print_usage(out, layouts)
    if regions is not None:
        [layer] = drawn.layouts
        about = {"model": str(model), "layer": layer, "seed": seed or 0, "labels": list(drawn.labels)}
        _report_regions(recorded[layer].statistics(), about, regions)


def _completed(
    model: str | Path, image: Path, mask: Path | None, entities: list[int] | None, device: str
) -> tuple[np.ndarray, np.ndarray]:
    """The layout (1, n, h, w) of an image that an inpainting model completes, and the sheet."""
    from attnorm.cli.inpaint import read_image
    from attnorm.data.compositing import check_mask
    from attnorm.data.decode import DecodeError, pillow_quiet
    from attnorm.metrics.inpainting import composite
    from attnorm.pipelines.inpainting import InpaintingPipeline
    from attnorm.plots.layouts import inpainting_layout_sheet

    try:
        with pillow_quiet():
            loaded, missing = read_image(image, mask)
            missing = check_mask(missing, loaded.size)
    except DecodeError as error:
        raise UserError(f"{image}: {error}") from error
    pipe = InpaintingPipeline.from_pretrained(model, device=device)
    stages = pipe.stages(loaded.rgb[None], missing[None])
    layouts = _checked(stages.layouts, entities, model)
    completed = composite(loaded.rgb[None], stages.refined, missing[None])[0]
    return layouts, inpainting_layout_sheet(loaded.rgb, missing, completed, layouts[0], entities or ())


def _checked(layouts: dict[str, np.ndarray], entities: list[int] | None, model: str | Path) -> np.ndarray:
    """The layouts of the model's one long-range layer."""
    if not layouts:
        raise UserError(f"{model} has no attentive normalization, so there is no layout to draw")
    [found] = layouts.values()
    for entity in entities or ():
        if not 0 <= entity < found.shape[1]:
            raise UserError(f"there is no entity {entity}: the model's entities are 0 to {found.shape[1] - 1}")
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


def _report_regions(statistics: RegionStatistics, about: dict[str, Any], path: Path) -> None:
    """Writes the chart and its numbers, and prints them as a table."""
    from attnorm.files import output_file
    from attnorm.plots import save_region_chart

    names, rows = ["region", "share", "mean", "std"], statistics.rows()
    save_region_chart(statistics, path, f"features that {about['layer']} normalises, {len(about['labels'])} images")
    by_region = [dict(zip(names, row, strict=True)) for row in rows]
    with output_file(path.with_suffix(".json")) as partial:
        text = json.dumps({**about, "variance_within_regions": statistics.within, "regions": by_region}, indent=1)
        partial.write_text(text + "\n", encoding="utf-8")
    shown = [[str(region), *("-" if x is None else f"{x:.3f}" for x in values)] for region, *values in rows]
    print_table(names, shown)
    print(f"share of the whole map's variance that is left inside the regions: {statistics.within:.1%}")
    print(f"{path}, {path.with_suffix('.json')}")
