"""`attnorm visualize`."""

from pathlib import Path

from attnorm.cli import arguments as cli
from attnorm.errors import UserError, counted


def visualize(
    model: cli.Model,
    image: Path | None = None,
    mask: Path | None = None,
    /,
    *,
    out: cli.ImageOut,
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
        image: The image to complete, for an inpainting model.
        mask: Its mask, white where pixels are missing (default: the image's transparent pixels).
        out: The sheet, such as layouts.png.
        regions: Also draw a chart of the features' standard deviation in each region to this file.
        count: Images in all (default 8), with classes in turn.
        entities: The entities whose maps are shown, by number (default: all; none for an inpainting model).
        seed: Seed of the images (default 0).
    """
    import torch

    from attnorm import plots
    from attnorm.files import check_output
    from attnorm.metrics.inpainting import composite
    from attnorm.metrics.layout import layout_usage, record_regions
    from attnorm.pipelines.inpainting import read_inputs
    from attnorm.plots.saving import CHARTS, check_ending

    check_output(out, force)
    if regions is not None:
        check_ending(regions, "a chart", CHARTS)
        check_output(regions, force)
    pipe = source.pipeline(model)
    if pipe.task == "inpainting":
        options = {"labels": labels, "count": count, "seed": seed, "regions": regions}
        cli.refuse_options(model, "class-conditional", **options)
        if image is None:
            raise UserError(f"{model} is an inpainting model: use attnorm visualize MODEL IMAGE MASK -o SHEET.png")
        [given] = read_inputs(image, mask)
        original, missing = given.image.rgb[None], given.mask[None]
        stages = pipe.stages(original, missing)
        images, by_layer, titles = composite(original, stages.refined, missing), stages.layouts, [""]
        entities, inputs = entities or [], plots.masked_images(original, missing)
    else:
        if image is not None:
            raise UserError(f"{model} is not an inpainting model: leave {image} out")
        with record_regions(pipe.generator) as found:
            drawn = pipe.draw(labels, count or 8, seed or 0)
        images, by_layer, titles = drawn.images, drawn.layouts, [pipe.class_names[label] for label in drawn.labels]
        inputs = None
    if not by_layer:
        raise UserError(f"{model} has no attentive normalization, so there is no layout to draw")
    [layouts] = by_layer.values()  # a model has one long-range layer
    cli.check_entities(entities or (), n := layouts.shape[1])
    plots.save_image(plots.layout_sheet(images, layouts, titles, entities, inputs), out)
    sharpness, effective = layout_usage(torch.from_numpy(layouts))
    scale = f"1 is hard, {1 / n:.3f} uniform"
    print(f"{out}: {n} entities, sharpness {sharpness:.3f} ({scale}), {effective:.1f} effective entities")
    if regions is not None:
        [(layer, measured)] = found.items()
        plots.save_region_chart(measured, regions, f"features that {layer} normalizes, {counted(len(images), 'image')}")
        print(f"{regions}: inside the regions, {measured.within:.1%} of the map's variance remains")
