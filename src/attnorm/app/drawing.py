"""What the class-conditional models draw for the page, and what a layer's layout is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from attnorm.app.painting import layout_of
from attnorm.app.pictures import for_screen
from attnorm.errors import UserError
from attnorm.inpainting_pipeline import NATIVE_SIDE, InpaintingPipeline
from attnorm.metrics.layout import layout_usage
from attnorm.metrics.regions import RegionSummary, record_regions
from attnorm.pipelines import ClassConditionalPipeline, Generated
from attnorm.plots import colour_layout, enlarge, interpolation_frames, label_grid
from attnorm.plots.grids import GAP, framed, resize
from attnorm.plots.interpolation import liveliest_entity
from attnorm.plots.layouts import grey_map, peak_of

MOST_PICTURES, MOST_EACH = 64, 16
TILE = 128  # pixels of the longer side of a small picture on the screen
FRAMES, FPS = 25, 15  # of an interpolation, both ends among them
NO_TRUNCATION = 2.0  # this and more is the whole distribution


class Tile(NamedTuple):
    """A picture with its layout below it, (h, w, 3) uint8, and the class that it was drawn for."""

    picture: np.ndarray
    title: str


class Film(NamedTuple):
    """frames: (h, w, 3) uint8 of one size, from the first class to the second. entity: whose map is shown, if any."""

    frames: list[np.ndarray]
    entity: int | None


class LayerView(NamedTuple):
    """picture: (h, w, 3) uint8 as the network saw it. layout: (n, h', w'). maps: one picture an entity, from 0 (black)
    to `peak` (white). summary: the statistics of the features by region.
    """

    picture: np.ndarray
    layout: np.ndarray
    maps: list[np.ndarray]
    peak: float
    summary: RegionSummary
    report: str


def draw(
    pipe: ClassConditionalPipeline, labels: Sequence[str], each: int, seed: int, truncation: float, layouts: bool
) -> Generated:
    """`each` pictures of every label; a truncation of 2 and more is none.

    Raises:
        UserError: no or an unknown label, more than 64 pictures, or a number that makes no sense.
    """
    if not labels:
        raise UserError("choose at least one class")
    if each < 1 or len(labels) * each > MOST_PICTURES:
        raise UserError(
            f"{len(labels)} classes with {each} pictures each are {len(labels) * each}: "
            f"the page draws 1 to {MOST_PICTURES} at once"
        )
    wanted = [index for index in pipe.indices(list(labels)) for _ in range(each)]
    limit = None if truncation >= NO_TRUNCATION else truncation
    return pipe.draw(wanted, seed=seed, with_layouts=layouts, truncation=limit)


def tiles(drawn: Generated, class_names: Sequence[str]) -> list[Tile]:
    """Each picture, enlarged if it is small, with its layout below it if there are layouts."""
    pictures = enlarge(drawn.pictures, TILE)
    titles = [class_names[label] for label in drawn.labels]
    if not drawn.layouts:
        return [Tile(picture, title) for picture, title in zip(pictures, titles, strict=True)]
    [layouts] = drawn.layouts.values()  # a generator has one long-range layer
    gap = np.full((GAP, *pictures.shape[2:]), 255, np.uint8)
    found = []
    for picture, layout, title in zip(pictures, layouts, titles, strict=True):
        colours = resize(colour_layout(layout), picture.shape[:2])
        found.append(Tile(np.concatenate([picture, gap, colours]), title))
    return found


def sheet(shown: Sequence[Tile], each: int) -> np.ndarray:
    """All tiles as one picture: a row a class."""
    names = [tile.title for tile in shown[::each]]
    return framed(label_grid(np.stack([tile.picture for tile in shown]), names, each))


def film(pipe: ClassConditionalPipeline, first: str, second: str, rows: int, seed: int) -> Film:
    """From one class to another with the noises held fixed, and the map below each of the entity that changes most."""
    drawn = pipe.interpolate(first, second, FRAMES, rows, seed, with_layouts=True)
    names = pipe.class_names[drawn.labels[0]], pipe.class_names[drawn.labels[1]]
    entity, maps = None, None
    if drawn.layouts:
        [layout] = drawn.layouts.values()
        entity = liveliest_entity(layout)
        maps = layout[:, :, entity]
    return Film(list(interpolation_frames(drawn.pictures, drawn.shares.tolist(), names, maps, entity)), entity)


def view_layer(pipe: InpaintingPipeline, picture: np.ndarray) -> LayerView:
    """What the layer of an inpainting model sees in a picture (h, w, 3) uint8 without a hole."""
    with record_regions(pipe.generator) as regions:
        layout = layout_of(pipe, picture)
    [moments] = regions.values()
    peak, small = peak_of(layout), for_screen(picture, NATIVE_SIDE)
    maps = [resize(grey_map(weights, peak), small.shape[:2]) for weights in layout]
    usage = layout_usage(torch.from_numpy(layout)[None])
    count = len(layout)
    report = (
        f"{count} entities; sharpness {usage.sharpness:.2f} (1 is hard, {1 / count:.2f} uniform); "
        f"{usage.effective_entities:.1f} effective entities"
    )
    return LayerView(small, layout, maps, peak, moments.summary(), report)


def as_pictures(shown: Sequence[Tile]) -> list[tuple[Image.Image, str]]:
    """Pictures with their captions, as a gallery takes them."""
    return [(Image.fromarray(tile.picture), tile.title) for tile in shown]
