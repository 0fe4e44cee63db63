"""Shopfronts with a sign and an awning."""

import numpy as np

from attnorm.data.chance import between, happens, pick
from attnorm.data.facades.canvas import Box, Canvas
from attnorm.data.facades.colour import Colour, mix, shade
from attnorm.data.facades.plan import Plan
from attnorm.data.facades.regions import SHOP

GOODS: tuple[Colour, ...] = (
    (206, 74, 60),
    (232, 178, 66),
    (84, 140, 92),
    (70, 110, 170),
    (236, 228, 210),
    (150, 86, 128),
)
WARM: Colour = (250, 214, 150)


def draw_shop(canvas: Canvas, plan: Plan, cell: Box, rng: np.random.Generator) -> None:
    """A shop that fills one bay of the ground floor."""
    left, top, right, bottom = cell
    left, right, top = left + 1, right - 1, top + 3
    front = mix(plan.accent, pick(rng, plan.style.accents), 0.5 * float(rng.random()))
    canvas.box((left, top, right, bottom), front, SHOP)
    sign = (left + 1, top + 0.6, right - 1, top + 6)
    _draw_sign(canvas, sign, front, rng)
    window = (left + 2, top + 7.5, right - 2, bottom - 6)
    _draw_display(canvas, window, rng)
    canvas.box((left + 2, bottom - 5, right - 2, bottom - 1), shade(front, 0.78), SHOP)
    if happens(rng, 0.7):
        _draw_awning(canvas, (left - 0.5, top + 6, right + 0.5, top + 15), front, rng)


def _draw_sign(canvas: Canvas, box: Box, front: Colour, rng: np.random.Generator) -> None:
    """A board with marks the size of letters."""
    left, top, right, bottom = box
    canvas.box(box, shade(front, 0.7), SHOP)
    x = left + between(rng, (2, 4))
    while x < right - 4:
        letter = between(rng, (0.8, 2.0))
        canvas.box((x, top + 1.4, x + letter, bottom - 1.4), (240, 224, 170), SHOP, glow=canvas.light.lit > 0.3)
        x += letter + 0.8


def _draw_display(canvas: Canvas, box: Box, rng: np.random.Generator) -> None:
    """A shop window: a lamp-lit room, goods on the sill, a slanting reflection."""
    left, top, right, bottom = box
    canvas.box(box, mix((64, 66, 70), WARM, 0.25 + canvas.light.lit), SHOP, glow=True)
    canvas.box(
        (left, top, right, top + 0.3 * (bottom - top)),
        mix((46, 48, 54), WARM, 0.1 + canvas.light.lit),
        SHOP,
        glow=True,
    )
    x = left + 0.6
    while x < right - 3:
        width, height = between(rng, (1.6, 3.4)), between(rng, (2, 9))
        canvas.box((x, bottom - height, x + width, bottom), pick(rng, GOODS), SHOP)
        x += width + between(rng, (0.3, 2))
    lean = 0.25 * (right - left)
    canvas.polygon(
        [(left + lean, top), (left + 1.6 * lean, top), (left + 0.6 * lean, bottom), (left, bottom)],
        mix((92, 98, 104), canvas.light.horizon, 0.35),
        SHOP,
        glow=True,
    )


def _draw_awning(canvas: Canvas, box: Box, front: Colour, rng: np.random.Generator) -> None:
    """Striped canvas with a scalloped valance."""
    left, top, right, bottom = box
    stripes = 7
    width, flare = (right - left) / stripes, 1.5
    colours = (shade(front, 1.25), (242, 238, 226))
    if happens(rng, 0.3):
        colours = (shade(front, 1.15), shade(front, 1.3))
    canvas.cast((left - flare, top + 4, right + flare, bottom), 8)
    for stripe in range(stripes):
        start, end = left + stripe * width, left + (stripe + 1) * width
        spread = flare * (2 * stripe / stripes - 1), flare * (2 * (stripe + 1) / stripes - 1)
        edge = [(end + spread[1], bottom - 2), (start + spread[0], bottom - 2)]
        colour = colours[stripe % 2]
        canvas.polygon([(start, top), (end, top), *edge], colour, SHOP)
        hem = (start + spread[0], bottom - 3.4, end + spread[1], bottom)
        canvas.ellipse(hem, shade(colour, 0.84), SHOP)
        canvas.box((hem[0], hem[1] + 1, hem[2], bottom - 1.6), shade(colour, 0.84), SHOP)
