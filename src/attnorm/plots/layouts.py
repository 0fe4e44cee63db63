"""Layouts beside their pictures: the entities' maps, and the layout against the true regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attnorm.plots.colours import colour_layout, entity_colours
from attnorm.plots.grids import Key, caption, enlarge, framed, label_grid, legend, names_width, resize, stack

LARGE_TILE = 128


def layout_sheet(
    pictures: np.ndarray, layouts: np.ndarray, titles: Sequence[str], entities: Sequence[int] | None = None
) -> np.ndarray:
    """Each picture, its layout's argmax in colour, and the maps of entities, a row a picture (paper, Fig. 5).

    Args:
        pictures: (b, h, w, 3) uint8.
        layouts: (b, n, h', w') floating point; enlarged to the pictures by pixel repetition.
        titles: a name for each row.
        entities: whose maps are shown, in this order; None for all.

    Entity maps share one scale, from 0 (black) to their largest weight (white). The legend has each entity's share of
    the pixels of all rows, counted by argmax.
    """
    pictures = enlarge(pictures)
    size, count = pictures.shape[1:3], layouts.shape[1]
    shown = list(range(count)) if entities is None else list(entities)
    peak = peak_of(layouts[:, shown])
    tiles = []
    for picture, layout in zip(pictures, layouts, strict=True):
        maps = [resize(grey_map(layout[entity], peak), size) for entity in shown]
        tiles += [picture, resize(colour_layout(layout), size), *maps]
    keys = entity_keys(count)
    heads = [Key("picture"), Key("layout"), *(keys[entity] for entity in shown)]
    margin = names_width(titles)
    sheet = label_grid(np.stack(tiles), titles, len(heads), heads, margin)
    shares = np.bincount(layouts.argmax(1).ravel(), minlength=count) / layouts[:, 0].size
    named = [Key(f"{name}: {share:.1%}", colour) for (name, colour), share in zip(keys, shares, strict=True)]
    explained = (
        "Layout: the entity with the largest weight, and its share of all pixels. "
        f"Maps: the weight of one entity, from 0 (black) to {peak:.2f} (white)."
    )
    width = sheet.shape[1] - margin
    return framed(stack([sheet, legend(named, width), caption(explained, width)], indent=margin))


def agreement_sheet(
    pictures: np.ndarray,
    regions: np.ndarray,
    layouts: np.ndarray,
    titles: Sequence[str],
    region_names: Sequence[str],
    region_of: Sequence[int],
) -> np.ndarray:
    """Each picture, its true regions, the layout's argmax, and the same with entities in the colours of regions.

    Args:
        pictures: (b, h, w, 3) uint8.
        regions: (b, H, W) integers, indices into `region_names`.
        layouts: (b, n, h', w') floating point.
        titles: a name for each row.
        region_of: the region that stands for each entity, n indices into `region_names`.
    """
    pictures = enlarge(pictures, LARGE_TILE)
    size, count = pictures.shape[1:3], layouts.shape[1]
    colours = entity_colours(max(count, len(region_names)))
    tiles = []
    for picture, truth, layout in zip(pictures, regions, layouts, strict=True):
        winner = layout.argmax(0)
        matched = np.asarray(region_of)[winner]
        maps = (colours[truth], colours[winner], colours[matched])
        tiles += [picture, *(resize(each, size) for each in maps)]
    heads = [Key("picture"), Key("true regions"), Key("layout"), Key("as regions")]
    margin = names_width(titles)
    sheet = label_grid(np.stack(tiles), titles, len(heads), heads, margin)
    width = sheet.shape[1] - margin
    winners = np.unique(layouts.argmax(1)).tolist()
    parts = [
        sheet,
        caption("Regions:", width),
        legend([Key(name, tuple(colours[region])) for region, name in enumerate(region_names)], width),
        caption("Entities of the layouts above, with the region that each of them lies on most:", width),
        legend([Key(f"{e}: {region_names[region_of[e]]}", tuple(colours[e])) for e in winners], width),
    ]
    return framed(stack(parts, indent=margin))


def entity_keys(count: int) -> list[Key]:
    """The number and the colour of each entity."""
    return [Key(str(entity), tuple(colour)) for entity, colour in enumerate(entity_colours(count).tolist())]


def grey_map(weights: np.ndarray, peak: float) -> np.ndarray:
    """Weights (h, w) from 0 to `peak` -> (h, w, 3) uint8 from black to white."""
    grey = (weights / peak * 255).round().clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def peak_of(weights: np.ndarray) -> float:
    """The largest weight, or a small number where all are 0."""
    return max(float(weights.max()), 1e-9)
