"""Doors, one kind per style."""

from collections.abc import Callable

import numpy as np

from attnorm.data.facades.canvas import Box, Canvas
from attnorm.data.facades.colour import Colour, mix, shade
from attnorm.data.facades.plan import Plan
from attnorm.data.facades.regions import DOOR, GROUND, TRIM
from attnorm.data.facades.shapes import arch, grow
from attnorm.data.facades.windows import draw_glass, draw_ledge, draw_panes, shade_reveal

BRASS: Colour = (226, 186, 90)


def draw_door(canvas: Canvas, plan: Plan, cell: Box, rng: np.random.Generator) -> None:
    """The entrance in one bay of the ground floor."""
    DOORS[plan.style.door](canvas, plan, cell, rng)


def _opening(cell: Box, width: float, height: float) -> Box:
    """A centred opening on the ground, its size as shares of the cell."""
    left, top, right, bottom = cell
    half, centre = width * (right - left) / 2, (left + right) / 2
    return centre - half, bottom - height * (bottom - top), centre + half, bottom


def _panels(canvas: Canvas, box: Box, colour: Colour, columns: int, rows: int) -> None:
    """Sunk panels with a dark upper and a bright lower edge."""
    left, top, right, bottom = box
    width, height = (right - left) / columns, (bottom - top) / rows
    for column in range(columns):
        for row in range(rows):
            x, y = left + column * width, top + row * height
            panel = (x + 0.9, y + 0.9, x + width - 0.9, y + height - 0.9)
            canvas.box(panel, shade(colour, 1.25), DOOR)
            canvas.box((panel[0], panel[1], panel[2], panel[3] - 0.6), shade(colour, 0.7), DOOR)
            canvas.box(grow(panel, -0.6, -0.6, -0.6), shade(colour, 0.92), DOOR)


def _panelled(canvas: Canvas, plan: Plan, cell: Box, rng: np.random.Generator) -> None:
    """A panelled door under a fanlight, between pilasters with a hood, up two steps."""
    left, top, right, bottom = _opening(cell, 0.46, 0.78)
    for step in range(2):
        canvas.box(
            (left - 4 + step, bottom - 1.6 * step - 1.6, right + 4 - step, bottom - 1.6 * step),
            (176, 170, 160),
            GROUND,
        )
    bottom -= 3.2
    for x in (left - 2.8, right):
        canvas.box((x, top, x + 2.8, bottom), plan.trim, TRIM)
        canvas.box((x + 2, top, x + 2.8, bottom), shade(plan.trim, 0.84), TRIM)
    transom = top + 0.24 * (bottom - top)
    canvas.box((left, top, right, bottom), shade(plan.trim, 0.9), DOOR)
    light = (left + 0.8, top + 0.8, right - 0.8, transom - 0.8)
    draw_glass(canvas, light, 0.0, rng)
    draw_panes(canvas, light, 0.0, (4, 1), plan.trim)
    canvas.box((left + 0.8, transom, right - 0.8, bottom), plan.accent, DOOR)
    _panels(canvas, (left + 1, transom, right - 1, bottom), plan.accent, 2, 3)
    canvas.box((right - 3, (transom + bottom) / 2, right - 1.8, (transom + bottom) / 2 + 1.2), BRASS, DOOR)
    shade_reveal(canvas, (left, top, right, bottom), 0.0, 2.6)
    draw_ledge(canvas, (left - 4, top - 3.2, right + 4, top), plan.trim, 4)


def _carriage(canvas: Canvas, plan: Plan, cell: Box, rng: np.random.Generator) -> None:
    """A tall arched double door for carriages."""
    box = _opening(cell, 0.62, 0.84)
    rise = 0.5 * (box[2] - box[0])
    canvas.polygon(arch(grow(box, 2.4, 2.4, 0), rise), plan.trim, TRIM)
    canvas.polygon(arch(box, rise), plan.accent, DOOR)
    left, top, right, bottom = box
    centre = (left + right) / 2
    glass = grow(box, -1, -1, -0.66 * (bottom - top))
    draw_glass(canvas, glass, rise - 1, rng)
    draw_panes(canvas, glass, rise - 1, (4, 1), shade(plan.accent, 0.7))
    for leaf in ((left + 0.6, centre - 0.3), (centre + 0.3, right - 0.6)):
        _panels(canvas, (leaf[0], glass[3] + 0.6, leaf[1], bottom - 0.6), plan.accent, 1, 3)
    for x in (centre - 1.6, centre + 0.8):
        canvas.box((x, bottom - 13, x + 0.8, bottom - 11), BRASS, DOOR)
    shade_reveal(canvas, box, rise, 3)


def _plank(canvas: Canvas, plan: Plan, cell: Box, rng: np.random.Generator) -> None:
    """A plank door with a round head, iron straps and a stone step."""
    box = _opening(cell, 0.5, 0.74)
    left, top, right, bottom = box
    rise = 0.3 * (right - left)
    canvas.polygon(arch(grow(box, 2, 2, 0), rise), plan.trim, TRIM)
    canvas.polygon(arch(box, rise), plan.accent, DOOR)
    boards = 5
    for board in range(1, boards):
        x = left + (right - left) * board / boards
        canvas.box((x - 0.3, top + 0.5 * rise, x + 0.3, bottom), shade(plan.accent, 0.66), DOOR)
    for share in (0.35, 0.8):
        y = top + (bottom - top) * share
        canvas.box((left, y, right - 4, y + 1.2), (36, 34, 34), DOOR)
    peep = (left + 0.35 * (right - left), top + 4, left + 0.65 * (right - left), top + 10)
    draw_glass(canvas, peep, 0.0, rng)
    draw_panes(canvas, peep, 0.0, (2, 2), shade(plan.accent, 0.6))
    shade_reveal(canvas, box, rise)
    canvas.box((left - 3, bottom - 1.4, right + 3, bottom), (160, 156, 148), GROUND)


def _glazed(canvas: Canvas, plan: Plan, cell: Box, rng: np.random.Generator) -> None:
    """A glass double door under a thin canopy on posts."""
    left, top, right, bottom = _opening(cell, 0.84, 0.82)
    canvas.box((left, top, right, bottom), plan.frame, DOOR)
    centre = (left + right) / 2
    for leaf in ((left + 0.8, centre - 0.5), (centre + 0.5, right - 0.8)):
        canvas.box((leaf[0], top + 1, leaf[1], bottom - 1), mix((60, 84, 96), canvas.light.horizon, 0.25), DOOR)
        canvas.polygon([(leaf[0], top + 1), (leaf[1], top + 1), (leaf[0], bottom - 8)], (150, 178, 188), DOOR)
    for x in (centre - 1.6, centre + 1):
        canvas.box((x, top + 9, x + 0.6, bottom - 7), (224, 226, 228), DOOR)
    draw_ledge(canvas, (left - 5, top - 2.6, right + 5, top - 0.6), plan.accent, 8)


def _deco(canvas: Canvas, plan: Plan, cell: Box, rng: np.random.Generator) -> None:
    """Glass and metal leaves with a sunburst above, in a frame of three receding steps."""
    box = _opening(cell, 0.6, 0.76)
    for step, colour in enumerate((plan.trim, shade(plan.accent, 1.2), shade(plan.trim, 0.9))):
        canvas.box(grow(box, 5 - 1.6 * step, 5 - 1.6 * step, 0), colour, TRIM)
    left, top, right, bottom = box
    centre, transom = (left + right) / 2, top + 0.3 * (bottom - top)
    canvas.box(box, plan.accent, DOOR)
    for ray in range(7):
        x = left + (right - left) * ray / 6
        canvas.line((centre, transom), (x, top), 0.6, BRASS, DOOR)
    for leaf in ((left + 1.2, centre - 0.6), (centre + 0.6, right - 1.2)):
        draw_glass(canvas, (leaf[0], transom + 1.4, leaf[1], bottom - 4), 0.0, rng)
        draw_panes(canvas, (leaf[0], transom + 1.4, leaf[1], bottom - 4), 0.0, (1, 4), BRASS)
    shade_reveal(canvas, box, 0.0)
    draw_ledge(canvas, (left - 7, top - 8, right + 7, top - 4.4), plan.accent, 7)


def _roller(canvas: Canvas, plan: Plan, cell: Box, rng: np.random.Generator) -> None:
    """A steel roller shutter for lorries, with striped jambs and a wicket."""
    box = _opening(cell, 0.7, 0.76)
    left, top, right, bottom = box
    draw_ledge(canvas, (left - 3, top - 4, right + 3, top), plan.trim, 2)
    canvas.box(box, plan.accent, DOOR)
    slats = 14
    for slat in range(slats):
        y = top + (bottom - top) * slat / slats
        canvas.box((left, y, right, y + 0.7), shade(plan.accent, 0.7 if slat % 2 else 1.14), DOOR)
    for x in (left - 2, right):
        for stripe in range(6):
            y = bottom - 4 * stripe
            canvas.box((x, y - 4, x + 2, y), (222, 178, 40) if stripe % 2 else (44, 44, 44), TRIM)
    wicket = (left + 2, bottom - 0.62 * (bottom - top), left + 10, bottom)
    canvas.box(wicket, shade(plan.accent, 0.78), DOOR)
    draw_glass(canvas, (wicket[0] + 2, wicket[1] + 2, wicket[2] - 2, wicket[1] + 8), 0.0, rng)
    shade_reveal(canvas, box, 0.0, 3)


DOORS: dict[str, Callable[[Canvas, Plan, Box, np.random.Generator], None]] = {
    "panelled": _panelled,
    "carriage": _carriage,
    "plank": _plank,
    "glazed": _glazed,
    "deco": _deco,
    "roller": _roller,
}
