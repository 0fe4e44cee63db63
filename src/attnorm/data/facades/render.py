"""From (seed, index) to a picture of a building and the map of its parts."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from attnorm.data.facades.balconies import draw_balconies
from attnorm.data.facades.canvas import UNITS, Canvas
from attnorm.data.facades.catalogue import CATALOGUE
from attnorm.data.facades.doors import draw_door
from attnorm.data.facades.light import choose_light
from attnorm.data.facades.ornaments import draw_ornaments
from attnorm.data.facades.plan import Plan, choose_plan
from attnorm.data.facades.regions import REGIONS
from attnorm.data.facades.roofs import draw_roof
from attnorm.data.facades.shops import draw_shop
from attnorm.data.facades.sky import paint_sky
from attnorm.data.facades.skyline import draw_skyline
from attnorm.data.facades.street import draw_neighbours, draw_street
from attnorm.data.facades.trees import draw_tree, plant_trees, shade_wall
from attnorm.data.facades.walls import draw_wall
from attnorm.data.facades.windows import draw_window, window_box

MIN_SIZE, MAX_SIZE = 16, 256


@dataclass(frozen=True)
class Facade:
    """One building front."""

    image: np.ndarray  # (size, size, 3) uint8, RGB
    regions: np.ndarray  # (size, size) uint8, indices into REGIONS
    style: int  # index into STYLES


def render_facade(seed: int, index: int, size: int) -> Facade:
    """Draw building `index` of the set `seed` as a `size` x `size` picture.

    The result depends on the three arguments alone, and `size` changes the resolution, not the building.
    Styles take turns, so every run of `len(STYLES)` consecutive indices holds each style once.
    """
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ValueError(f"size must be between {MIN_SIZE} and {MAX_SIZE} pixels, not {size}")
    style = index % len(CATALOGUE)
    rng = np.random.default_rng(np.random.SeedSequence([seed, index]))
    light = choose_light(rng)
    plan = choose_plan(rng, CATALOGUE[style])
    side = UNITS * (2 if size > UNITS // 2 else 1)  # at least two pixels drawn for each pixel returned
    canvas = Canvas(paint_sky(rng, light, side), light)
    _draw_scene(canvas, plan, rng)
    return Facade(_reduce_image(canvas.image, size), _reduce_regions(canvas.image, size), style)


def _draw_scene(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Everything before the sky, from back to front."""
    draw_neighbours(canvas, plan, rng)
    draw_skyline(canvas, plan, rng)
    draw_wall(canvas, plan, rng)
    draw_ornaments(canvas, plan)
    draw_roof(canvas, plan, rng)
    _draw_openings(canvas, plan, rng)
    draw_balconies(canvas, plan, rng)
    draw_street(canvas, plan, rng)
    trees = plant_trees(rng, plan)
    for tree in trees:
        shade_wall(canvas, tree)
    canvas.settle_shadows()
    for tree in trees:
        draw_tree(canvas, tree)


def _draw_openings(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    for storey in range(1, plan.storeys):
        for bay in range(plan.bays):
            draw_window(canvas, plan, window_box(plan, plan.cell(storey, bay)), rng)
    for bay, kind in enumerate(plan.ground_floor):
        cell = plan.cell(0, bay)
        if kind == "door":
            draw_door(canvas, plan, cell, rng)
        elif kind == "shop":
            draw_shop(canvas, plan, cell, rng)
        else:
            draw_window(canvas, plan, window_box(plan, cell), rng)


def _reduce_image(image: Image.Image, size: int) -> np.ndarray:
    """The colours of the RGBA canvas at `size`: (size, size, 3) uint8."""
    return np.array(image.convert("RGB").resize((size, size), Image.Resampling.BOX))


def _reduce_regions(image: Image.Image, size: int) -> np.ndarray:
    """The region that covers most of each pixel of the reduced picture: (size, size) uint8."""
    # One label per unit is fine enough for a vote, and at the larger scale takes a quarter of the time.
    labels = np.asarray(image.getchannel("A").resize((UNITS, UNITS), Image.Resampling.NEAREST))
    winner, most = np.zeros((size, size), np.uint8), np.zeros((size, size), np.uint8)
    for region in range(len(REGIONS)):
        share = Image.fromarray(255 * (labels == region).astype(np.uint8))
        cover = np.asarray(share.resize((size, size), Image.Resampling.BOX))
        winner[cover > most] = region
        most = np.maximum(most, cover)
    return winner
