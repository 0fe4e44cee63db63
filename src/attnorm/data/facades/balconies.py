"""Balconies, iron railings and fire escapes."""

import numpy as np

from attnorm.data.chance import happens, pick
from attnorm.data.facades.canvas import Box, Canvas
from attnorm.data.facades.colour import Colour, shade
from attnorm.data.facades.plan import Plan
from attnorm.data.facades.regions import BALCONY
from attnorm.data.facades.windows import draw_ledge, window_box

IRON: Colour = (40, 42, 46)


def draw_balconies(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """The balconies of the whole front, in the manner the plan names."""
    if plan.balcony == "rows":
        _draw_rows(canvas, plan)
    elif plan.balcony == "single":
        _draw_singles(canvas, plan)
    elif plan.balcony in ("glass", "solid"):
        _draw_loggias(canvas, plan, rng)
    elif plan.balcony == "escape":
        _draw_escape(canvas, plan, rng)


def _draw_rows(canvas: Canvas, plan: Plan) -> None:
    """Railings along the whole of the second and the top storey, window guards on the others."""
    for storey in range(1, plan.storeys):
        if storey in (1, plan.storeys - 1):
            _draw_iron(canvas, plan, (plan.left + 2, plan.right - 2), plan.floors[storey])
        else:
            for bay in range(plan.bays):
                left, _, right, bottom = window_box(plan, plan.cell(storey, bay))
                canvas.veil((left, bottom - 5.5, right, bottom), IRON, 0.3, BALCONY)
                _draw_bars(canvas, (left, bottom - 5.5, right, bottom), 2.0)


def _draw_singles(canvas: Canvas, plan: Plan) -> None:
    """A short balcony before every other window."""
    for storey in range(1, plan.storeys):
        for bay in range(storey % 2, plan.bays, 2):
            left, _, right, bottom = window_box(plan, plan.cell(storey, bay))
            _draw_iron(canvas, plan, (left - 3, right + 3), bottom + 1)


def _draw_iron(canvas: Canvas, plan: Plan, span: tuple[float, float], floor: float) -> None:
    """A stone slab on brackets at height `floor`, with an iron railing on it."""
    left, right = span
    brackets = max(2, round((right - left) / plan.bay_width * 2))
    for step in range(brackets + 1):
        x = left + 1.5 + (right - left - 3) * step / brackets
        canvas.box((x - 0.8, floor + 1, x + 0.8, floor + 4.2), shade(plan.trim, 0.8), BALCONY)
    rail = (left, floor - 8, right, floor)
    draw_ledge(canvas, (left - 0.8, floor, right + 0.8, floor + 2), plan.trim, 5.5, BALCONY)
    canvas.veil(rail, IRON, 0.28, BALCONY)
    _draw_bars(canvas, rail, 2.4)


def _draw_bars(canvas: Canvas, box: Box, gap: float) -> None:
    """An iron railing: a hand rail, a lower rail, and uprights `gap` apart."""
    left, top, right, bottom = box
    count = max(2, round((right - left) / gap))
    for step in range(count + 1):
        x = left + (right - left - 0.5) * step / count
        canvas.box((x, top, x + 0.5, bottom), IRON, BALCONY)
    canvas.box((left, top, right, top + 0.8), IRON, BALCONY)
    canvas.box((left, bottom - 2.2, right, bottom - 1.7), IRON, BALCONY)


def _draw_loggias(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Deep slabs in some of the bays, all the way up, with glass or solid fronts."""
    pattern = [happens(rng, 0.55) for _ in range(plan.bays)]
    pattern[pick(rng, range(plan.bays))] = True
    coloured = happens(rng, 0.5)
    for storey in range(1, plan.storeys):
        for bay, present in enumerate(pattern):
            if not present:
                continue
            left, top, right, bottom = plan.cell(storey, bay)
            front = (left + 1, bottom - 0.34 * (bottom - top), right - 1, bottom)
            draw_ledge(canvas, (left + 0.5, bottom, right - 0.5, bottom + 1.8), plan.trim, 5, BALCONY)
            canvas.cast(front, 3)
            if plan.balcony == "solid":
                _draw_parapet(canvas, plan, front)
            else:
                canvas.veil(front, plan.accent if coloured else (190, 216, 220), 0.6, BALCONY)
                canvas.box((front[0], front[1], front[2], front[1] + 0.7), plan.frame, BALCONY)


def _draw_parapet(canvas: Canvas, plan: Plan, box: Box) -> None:
    """A rendered balcony front with rounded ends and three ribs."""
    left, top, right, bottom = box
    canvas.box(box, plan.wall, BALCONY)
    canvas.box((left, top, left + 2, bottom), shade(plan.wall, 0.86), BALCONY)
    canvas.box((right - 2, top, right, bottom), shade(plan.wall, 0.86), BALCONY)
    for step in range(1, 4):
        y = top + (bottom - top) * step / 4
        canvas.box((left, y - 0.5, right, y + 0.5), plan.trim, BALCONY)


def _draw_escape(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Iron landings before one bay of every upper storey, joined by stairs."""
    bay = pick(rng, range(plan.bays))
    for storey in range(1, plan.storeys):
        left, top, right, bottom = plan.cell(storey, bay)
        left, right, floor = left + 2, right - 2, bottom - 3
        if storey + 1 < plan.storeys:
            ends = (left + 5, right - 7) if storey % 2 else (right - 5, left + 7)
            foot, head = (ends[0], floor), (ends[1], top - 3)
            for step in range(2):
                canvas.line((foot[0] + 3 * step, foot[1]), (head[0] + 3 * step, head[1]), 0.7, IRON, BALCONY)
            for step in range(1, 12):
                x = foot[0] + (head[0] - foot[0]) * step / 12
                y = foot[1] + (head[1] - foot[1]) * step / 12
                canvas.box((x, y - 0.3, x + 3, y + 0.3), IRON, BALCONY)
        draw_ledge(canvas, (left, floor, right, floor + 1.3), IRON, 6, BALCONY)
        rail = (left, floor - 9, right, floor)
        canvas.veil(rail, IRON, 0.2, BALCONY)
        _draw_bars(canvas, rail, 3.6)
