"""Images and interpolations of class-conditional models for the page, and views of a layer's layout."""

import html
from collections.abc import Sequence

import numpy as np
import torch

from attnorm.app.images import entity_key, figures, layout_of
from attnorm.errors import UserError, counted
from attnorm.metrics.layout import RegionStatistics, layout_usage, most_varying_entity, record_regions
from attnorm.pipelines.class_conditional import ClassConditionalPipeline, Generated
from attnorm.pipelines.inpainting import InpaintingPipeline
from attnorm.plots import colour_layout, enlarge, entity_colours, interpolation_frames, label_grid
from attnorm.plots.grids import GAP, framed, resize
from attnorm.plots.layouts import grey_map, peak_of, shares_of

MOST_PICTURES, MOST_EACH = 64, 16
TILE = 128  # small images in a sheet are enlarged to this many pixels
TILE_WIDTH, MAP_WIDTH = 84, 120  # smallest width on the screen, in pixels
FRAMES, FPS = 25, 15  # frames of an interpolation, including both ends
NO_TRUNCATION = 2.0  # this value and larger ones mean no truncation


def draw(
    pipe: ClassConditionalPipeline, labels: Sequence[str], each: int, seed: int, truncation: float, layouts: bool
) -> Generated:
    """Generates `each` images of every label; a truncation of 2 or more means none.

    Raises a UserError for no label or an unknown one, more than 64 images, or a truncation that is not positive.
    """
    if not labels:
        raise UserError("choose at least one class")
    if each < 1 or len(labels) * each > MOST_PICTURES:
        asked = f"{counted(len(labels), 'class')} with {counted(each, 'image')} each are {len(labels) * each}"
        raise UserError(f"{asked}: the page draws 1 to {MOST_PICTURES} at once")
    wanted = [index for index in pipe.indices(list(labels)) for _ in range(each)]
    limit = None if truncation >= NO_TRUNCATION else truncation
    drawn = pipe.draw(wanted, seed=seed, truncation=limit)
    return drawn if layouts else drawn._replace(layouts={})


def shown(drawn: Generated, class_names: Sequence[str]) -> str:
    """HTML: each image with its layout below, if any, and the name of its class."""
    tiles = []
    for parts, label in zip(_parts(drawn), drawn.labels, strict=True):
        name = html.escape(class_names[label])
        tiles.append((parts, name, [f"Image of the class {name}", f"Layout of the image of {name}"][: len(parts)]))
    return figures(tiles, TILE_WIDTH)


def sheet(drawn: Generated, class_names: Sequence[str], each: int) -> np.ndarray:
    """The images of `shown` as one sheet, with a row per class."""
    tiles = []
    for parts in _parts(drawn):
        large = [enlarge(part[None], TILE)[0] for part in parts]
        gap = np.full((GAP, *large[0].shape[1:]), 255, np.uint8)
        tiles.append(np.concatenate([large[0], *(piece for part in large[1:] for piece in (gap, part))]))
    names = [class_names[label] for label in drawn.labels[::each]]
    return framed(label_grid(np.stack(tiles), names, each))


def film(
    pipe: ClassConditionalPipeline, first: str, second: str, rows: int, seed: int
) -> tuple[list[np.ndarray], int | None]:
    """Frames (h, w, 3) uint8 from one class to another at fixed noise, with the map of the entity that changes most
    below each image; and that entity's number, None without a layout.
    """
    drawn = pipe.interpolate(first, second, FRAMES, rows, seed)
    names = pipe.class_names[drawn.labels[0]], pipe.class_names[drawn.labels[1]]
    entity, maps = None, None
    if drawn.layouts:
        [layout] = drawn.layouts.values()
        entity = most_varying_entity(layout)
        maps = layout[:, :, entity]
    return list(interpolation_frames(drawn.images, names, maps, entity)), entity


def _parts(drawn: Generated) -> list[list[np.ndarray]]:
    """Each image followed by its layout in colour, at the same size."""
    if not drawn.layouts:
        return [[image] for image in drawn.images]
    [layouts] = drawn.layouts.values()  # a generator has one long-range layer
    pairs = zip(drawn.images, layouts, strict=True)
    return [[image, resize(colour_layout(layout), image.shape[:2])] for image, layout in pairs]


def view_layer(pipe: InpaintingPipeline, image: np.ndarray) -> tuple[np.ndarray, RegionStatistics, str]:
    """The layout (n, h', w') of an image (h, w, 3) uint8 without a mask, statistics of the features in each region, and
    a report in Markdown.
    """
    with record_regions(pipe.generator) as regions:
        layout = layout_of(pipe, image)
    [statistics] = regions.values()
    usage, count = layout_usage(torch.from_numpy(layout)[None]), len(layout)
    report = (
        f"**Sharpness {usage.sharpness:.2f}**: the average over positions of the largest weight, from {1 / count:.2f} "
        f"(all {count} entities equal) to 1 (one entity only). "
        f"**Effective entities {usage.effective_entities:.1f}**: the number of entities in use, weighted by their "
        f"shares. **{statistics.within:.0%}** of the variance of the whole map remains inside the regions."
    )
    return layout, statistics, report


def maps(layout: np.ndarray) -> tuple[str, float]:
    """HTML: the map of each entity of a layout (n, h, w), with its colour and share; and the weight shown as white."""
    peak, shares, colours = peak_of(layout), shares_of(layout), entity_colours(len(layout))
    tiles = [
        ([grey_map(weights, peak)], entity_key(entity, shares[entity], colours[entity]), [f"Map of entity {entity}"])
        for entity, weights in enumerate(layout)
    ]
    return figures(tiles, MAP_WIDTH), peak


def table(regions: RegionStatistics) -> str:
    """HTML: the share, mean and std of the features inside each region."""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Region", "Share", "Mean", "Std"))
    body = "".join(
        f'<tr><th scope="row">{name}</th>'
        + "".join(f"<td>{'' if value is None else f'{value:.3f}'}</td>" for value in values)
        + "</tr>"
        for name, *values in regions.rows()
    )
    return f'<table class="statistics"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
