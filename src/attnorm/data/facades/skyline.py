"""What rises behind the roof line: chimneys, stacks, tanks, antennas.

Everything here is drawn before the wall and the roof and reaches down to the eaves, so its foot is hidden.
"""

from collections.abc import Callable

import numpy as np

from attnorm.data.chance import between, happens, pick
from attnorm.data.facades.canvas import Canvas
from attnorm.data.facades.colour import Colour, shade
from attnorm.data.facades.plan import Plan
from attnorm.data.facades.regions import ROOF

METAL: Colour = (86, 90, 96)
CLAY: Colour = (178, 104, 72)


def draw_skyline(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """One of the things that the style puts on its roofs."""
    SKYLINE[pick(rng, plan.style.skyline)](canvas, plan, rng)


def _chimney(canvas: Canvas, plan: Plan, left: float, top: float, rng: np.random.Generator) -> None:
    """A masonry shaft with a cap and a row of clay pots."""
    width = between(rng, (10, 15))
    right, pots = left + width, int(width / 4)
    _lit_box(canvas, (left, right), top, plan.eaves, shade(plan.chimney, 0.92))
    for y in np.arange(top + 3, plan.eaves, 3):
        canvas.box((left, y, right, y + 0.5), shade(plan.chimney, 0.66), ROOF)
    canvas.box((left - 1, top, right + 1, top + 2), shade(plan.chimney, 0.8), ROOF)
    for pot in range(pots):
        x = left + width * (pot + 0.5) / pots
        canvas.box((x - 1.1, top - 4, x + 1.1, top), CLAY, ROOF)
        canvas.box((x - 1.4, top - 4, x + 1.4, top - 3.2), shade(CLAY, 0.75), ROOF)


def _lit_box(canvas: Canvas, span: tuple[float, float], top: float, bottom: float, colour: Colour) -> None:
    """An upright block with its side away from the sun in shade."""
    left, right = span
    canvas.box((left, top, right, bottom), colour, ROOF)
    reach = 0.28 * (right - left)
    shady = (right - reach, right) if canvas.light.slant > 0 else (left, left + reach)
    canvas.box((shady[0], top, shady[1], bottom), shade(colour, 0.76), ROOF)


def _ridge_chimneys(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """A chimney on every party wall of a row of houses."""
    inner = (plan.left + plan.inset, plan.right - plan.inset - 12)
    for x in plan.edges()[:: max(2, plan.bays // 2)]:
        left = min(max(x - 6, inner[0]), inner[1])
        _chimney(canvas, plan, left, plan.crest - between(rng, (8, 15)), rng)


def _end_chimneys(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """A tall chimney at either end of the roof."""
    for left in (plan.left + plan.inset, plan.right - plan.inset - 14):
        _chimney(canvas, plan, left, plan.crest - between(rng, (12, 20)), rng)


def _side_chimney(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """One chimney halfway down the side of a gable, or near the end of a ridge."""
    reach = 0.3 * (plan.right - plan.left)
    left = (plan.left + plan.right) / 2 - 6 + pick(rng, (-reach, reach))
    # A gable of this reach has lost 0.6 of its height.
    roof_line = plan.eaves - 0.4 * plan.roof_height if plan.roof == "gable" else plan.crest
    _chimney(canvas, plan, left, roof_line - between(rng, (16, 24)), rng)


def _lift_house(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """The machine room of the lift, set back from the parapet, and antennas."""
    width, height = between(rng, (22, 40)), between(rng, (9, 14))
    left, top = between(rng, (plan.left + 12, plan.right - 12 - width)), plan.crest - height
    _lit_box(canvas, (left, left + width), top, plan.eaves, plan.roof_colour)
    canvas.box((left - 1, top - 1.4, left + width + 1, top), shade(plan.roof_colour, 1.15), ROOF)
    for step in range(4):
        y = top + 3 + 1.5 * step
        canvas.box((left + 0.35 * width, y, left + 0.6 * width, y + 0.7), shade(plan.roof_colour, 0.6), ROOF)
    _antennas(canvas, plan, rng)


def _antennas(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Two masts with cross bars."""
    for _ in range(2):
        x, top = between(rng, (plan.left + 10, plan.right - 10)), plan.crest - between(rng, (12, 24))
        canvas.box((x, top, x + 0.8, plan.eaves), METAL, ROOF)
        for bar in range(3):
            y, reach = top + 2 + 2.4 * bar, 4 - bar
            canvas.box((x + 0.4 - reach, y, x + 0.4 + reach, y + 0.7), METAL, ROOF)


def _mast(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """A flagpole over the middle of the front."""
    x, top = (plan.left + plan.right) / 2, plan.crest - between(rng, (10, 22))
    canvas.box((x - 0.7, top, x + 0.7, plan.eaves), shade(plan.trim, 0.8), ROOF)
    canvas.ellipse((x - 1.6, top - 1.6, x + 1.6, top + 1.6), plan.accent, ROOF)


def _factory_stack(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """A tapering brick chimney with two bands."""
    x, top, half = between(rng, (plan.left + 20, plan.right - 20)), max(8.0, plan.eaves - 84), 5.0
    sunny, shady = (1.12, 0.74) if canvas.light.slant > 0 else (0.74, 1.12)
    left, right, foot = x - half, x + half, plan.eaves
    canvas.polygon([(left - 2, foot), (left, top), (x, top), (x, foot)], shade(plan.chimney, sunny), ROOF)
    canvas.polygon([(x, foot), (x, top), (right, top), (right + 2, foot)], shade(plan.chimney, shady), ROOF)
    for y in (top, top + 6):
        canvas.box((left - 1.2, y, right + 1.2, y + 2), shade(plan.chimney, 0.66), ROOF)


def _water_tank(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """A wooden tank on legs, under a conical lid."""
    x, half = between(rng, (plan.left + 24, plan.right - 24)), between(rng, (9, 12))
    base = plan.crest - 9
    top = base - 1.7 * half
    for side in (-0.8, -0.25, 0.25, 0.8):
        canvas.box((x + side * half - 0.6, base, x + side * half + 0.6, plan.eaves), METAL, ROOF)
    for side in (-0.8 * half, 0.8 * half):
        canvas.line((x + side, base), (x - side, base + 10), 0.6, METAL, ROOF)
    wood: Colour = (128, 92, 64) if happens(rng, 0.6) else (132, 128, 122)
    sun, staves = -0.22 if canvas.light.slant > 0 else 0.22, 9
    for stave in range(staves):
        # A round body darkens away from its sunny side.
        tone = 1.0 - 0.6 * abs((stave + 0.5) / staves - 0.5 - sun)
        left = x - half + 2 * half * stave / staves
        canvas.box((left, top, left + 2 * half / staves, base), shade(wood, tone), ROOF)
    for y in (top + 3, base - 4):
        canvas.box((x - half, y, x + half, y + 0.7), shade(wood, 0.5), ROOF)
    canvas.polygon([(x - half - 1.5, top), (x, top - 0.7 * half), (x + half + 1.5, top)], METAL, ROOF)


SKYLINE: dict[str, Callable[[Canvas, Plan, np.random.Generator], None]] = {
    "ridge chimneys": _ridge_chimneys,
    "end chimneys": _end_chimneys,
    "side chimney": _side_chimney,
    "lift house": _lift_house,
    "antennas": _antennas,
    "mast": _mast,
    "factory stack": _factory_stack,
    "water tank": _water_tank,
}
