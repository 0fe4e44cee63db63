"""Roofs, drawn over the skyline and against the wall below them."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from attnorm.data.chance import happens, pick
from attnorm.data.facades.canvas import Canvas, Point
from attnorm.data.facades.colour import shade
from attnorm.data.facades.plan import Plan
from attnorm.data.facades.regions import ROOF, TRIM, WINDOW
from attnorm.data.facades.shapes import grow
from attnorm.data.facades.walls import lay_material, outline
from attnorm.data.facades.windows import draw_glass, draw_ledge, draw_panes


def draw_roof(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """The roof that the plan names. The wall below it is already there."""
    ROOFS[plan.roof](canvas, plan, rng)


def _slope(canvas: Canvas, plan: Plan, overhang: float, rng: np.random.Generator) -> None:
    """A slope from the eaves, `overhang` wider than the wall, to a crest shortened by the inset."""
    left, right = plan.left - overhang, plan.right + overhang
    crest = (left + plan.inset, right - plan.inset)
    outline = [(left, plan.eaves), (crest[0], plan.crest), (crest[1], plan.crest), (right, plan.eaves)]
    canvas.polygon(outline, plan.roof_colour, ROOF)
    lay_material(canvas, (left, plan.crest, right, plan.eaves), plan.style.roof_texture, ROOF, rng)
    canvas.box((crest[0], plan.crest - 0.8, crest[1], plan.crest + 0.9), shade(plan.roof_colour, 0.76), ROOF)


def _pitched(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Eaves and gutter to the street, perhaps dormers over every second bay."""
    _slope(canvas, plan, 2.5, rng)
    if happens(rng, 0.5):
        foot, height = plan.eaves - 0.2 * plan.roof_height, 0.62 * plan.roof_height
        for bay in range(pick(rng, (0, 1)), plan.bays, 2):
            _dormer(canvas, plan, (plan.left + (bay + 0.5) * plan.bay_width, foot), height, rng)
    gutter = (plan.left - 3, plan.eaves - 1, plan.right + 3, plan.eaves + 1)
    draw_ledge(canvas, gutter, shade(plan.frame, 0.8), 4.5)


def _mansard(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """A steep slope with a dormer over every bay, and the rim of the flat slope above it."""
    left, right, top = plan.left + plan.inset, plan.right - plan.inset, plan.crest
    rim = [(left, top), (left + 9, top - 6), (right - 9, top - 6), (right, top)]
    canvas.polygon(rim, shade(plan.roof_colour, 1.14), ROOF)
    _slope(canvas, plan, 0.0, rng)
    for bay in range(plan.bays):
        foot = (plan.left + (bay + 0.5) * plan.bay_width, plan.eaves - 2)
        _dormer(canvas, plan, foot, 0.8 * plan.roof_height, rng)


def _dormer(canvas: Canvas, plan: Plan, foot: Point, height: float, rng: np.random.Generator) -> None:
    """A window that stands upright in a roof slope, under a small roof of its own."""
    x, bottom = foot
    half = min(0.27 * plan.bay_width, 0.42 * height)
    top = bottom - 0.72 * height
    cheeks = (x - half - 1.5, top, x + half + 1.5, bottom)
    canvas.cast(cheeks, 3)
    canvas.box(cheeks, plan.trim if plan.roof == "mansard" else plan.wall, ROOF)
    left, right, peak = (x - half - 3, top + 0.6), (x + half + 3, top + 0.6), (x, top - 0.28 * height)
    canvas.polygon([left, peak, right], shade(plan.roof_colour, 0.8), ROOF)
    canvas.line(left, peak, 0.9, shade(plan.roof_colour, 1.2), ROOF)
    canvas.line(peak, right, 0.9, shade(plan.roof_colour, 1.1), ROOF)
    opening = (x - half, top + 1.6, x + half, bottom - 1)
    canvas.box(opening, plan.frame, WINDOW)
    glass = grow(opening, -0.8, -0.8, -0.8)
    draw_glass(canvas, glass, 0.0, rng)
    draw_panes(canvas, glass, 0.0, (2, 2), plan.frame)


def _gable(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """The end of a steep roof: two verges, and a small window under the peak."""
    left, peak, right = outline(plan)
    half, top = plan.bay_width / 4, plan.eaves - 0.34 * plan.roof_height
    opening = (peak[0] - half, top, peak[0] + half, top + 0.2 * plan.roof_height)
    canvas.box(grow(opening, 1.6, 1.6, 1.6), plan.trim, TRIM)
    draw_glass(canvas, opening, 0.0, rng)
    draw_panes(canvas, opening, 0.0, (2, 2), plan.frame)
    for foot in (left, right):
        _verge(canvas, plan, foot, peak)


def _verge(canvas: Canvas, plan: Plan, foot: Point, peak: Point) -> None:
    """One sloping edge of a gable roof, carried past the eaves, and the shadow under it."""
    overhang, thickness = 5.0, 5.5
    slope = (foot[1] - peak[1]) / (foot[0] - peak[0])
    outwards = overhang if foot[0] > peak[0] else -overhang
    end = (foot[0] + outwards, foot[1] + outwards * slope)
    canvas.shade([(peak[0], peak[1] + 5), (foot[0], foot[1] + 5), foot, peak], 0.9)
    over_end, over_peak = (end[0], end[1] - thickness), (peak[0], peak[1] - thickness)
    canvas.polygon([end, peak, over_peak, over_end], plan.roof_colour, ROOF)
    sunny = (foot[0] < peak[0]) == (canvas.light.slant > 0)
    canvas.line(over_end, over_peak, 1.8, shade(plan.roof_colour, 1.15 if sunny else 0.8), ROOF)
    canvas.line(end, peak, 1.4, shade(plan.trim, 0.9), TRIM)


def _flat(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Nothing but a coping along the parapet: what stands on the roof belongs to the skyline."""
    for (start, y), (end, other) in pairwise(outline(plan)):
        if y == other:
            draw_ledge(canvas, (start - 1, y - 1, end + 1, y + 1.4), plan.trim, 2)


def _stepped(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Copings on the steps, and a sunburst in the middle."""
    _flat(canvas, plan, rng)
    centre, foot = (plan.left + plan.right) / 2, plan.eaves + 1
    for ray in range(-4, 5):
        end = (centre + 3.1 * ray, plan.crest + 4 + 0.5 * abs(ray))
        canvas.line((centre + 0.7 * ray, foot), end, 0.9, plan.accent if ray % 2 else plan.trim, TRIM)


def _sawtooth(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """The flashing along the gables of a row of north lights."""
    for start, end in pairwise(outline(plan)):
        canvas.line(start, end, 2.4, plan.roof_colour, ROOF)
        above = (start[0], start[1] - 1.4), (end[0], end[1] - 1.4)
        canvas.line(*above, 0.8, shade(plan.roof_colour, 1.2), ROOF)


ROOFS: dict[str, Callable[[Canvas, Plan, np.random.Generator], None]] = {
    "pitched": _pitched,
    "mansard": _mansard,
    "gable": _gable,
    "flat": _flat,
    "stepped": _stepped,
    "sawtooth": _sawtooth,
}
