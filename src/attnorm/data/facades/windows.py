"""Windows: the opening, what is behind the glass, panes, and what frames them on the wall."""

import numpy as np

from attnorm.data.chance import between, happens
from attnorm.data.facades.canvas import Box, Canvas
from attnorm.data.facades.colour import Colour, mix, shade
from attnorm.data.facades.plan import Plan
from attnorm.data.facades.regions import TRIM, WINDOW
from attnorm.data.facades.shapes import arch, arch_top, grow

INTERIOR: Colour = (38, 46, 58)
CURTAIN: Colour = (214, 206, 190)
LAMP: Colour = (255, 206, 120)


def window_box(plan: Plan, cell: Box) -> Box:
    """Where the window of a bay goes: centred, a little above the middle of its storey."""
    left, top, right, bottom = cell
    width, height = (right - left) * plan.window.width, (bottom - top) * plan.window.height
    centre = (left + right) / 2
    head = top + 0.56 * (bottom - top - height)
    return centre - width / 2, head, centre + width / 2, head + height


def draw_window(canvas: Canvas, plan: Plan, box: Box, rng: np.random.Generator) -> None:
    """One window in the manner of the building, its opening filling `box`."""
    look = plan.window
    rise = look.rise * (box[2] - box[0])
    _draw_head(canvas, plan, box, rise)
    canvas.polygon(arch(box, rise), plan.frame, WINDOW)
    inner = grow(box, -0.9, -0.9, -0.9)
    draw_glass(canvas, inner, rise, rng)
    draw_panes(canvas, inner, rise, (look.columns, look.rows), plan.frame)
    shade_reveal(canvas, box, rise)
    if plan.shutters:
        _draw_shutters(canvas, plan, box)
    if look.sill:
        draw_ledge(canvas, (box[0] - 1.6, box[3], box[2] + 1.6, box[3] + 1.9), plan.trim, 2.4)


def draw_glass(canvas: Canvas, box: Box, rise: float, rng: np.random.Generator) -> None:
    """Glass with a lamp, curtains or a dim room behind it, and the sky mirrored in its upper part."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    lit = happens(rng, canvas.light.lit)
    covering, drawn = rng.random(), between(rng, (0.2, 0.6))
    if lit:
        canvas.polygon(arch(box, rise), mix(LAMP, (255, 236, 190), drawn), WINDOW, glow=True)
        canvas.box((left, bottom - 0.3 * height, right, bottom), shade(LAMP, 0.86), WINDOW, glow=True)
    else:
        room = mix(INTERIOR, canvas.light.zenith, 0.16 + 0.2 * drawn)
        canvas.polygon(arch(box, rise), room, WINDOW)
        _draw_reflection(canvas, box, rise, room, drawn)
    curtain = shade(CURTAIN, 0.9 if lit else 0.7)
    if covering < 0.3:
        edge = 0.5 * drawn * width
        canvas.box((left, top + rise, left + edge, bottom), curtain, WINDOW)
        canvas.box((right - edge, top + rise, right, bottom), curtain, WINDOW)
    elif covering < 0.45:
        canvas.box((left, top + rise, right, top + rise + drawn * (height - rise)), shade(curtain, 0.94), WINDOW)


def _draw_reflection(canvas: Canvas, box: Box, rise: float, room: Colour, share: float) -> None:
    """The bright sky in the glass, cut off by a slanting edge, over the roofs across the street."""
    left, top, right, bottom = box
    height = bottom - top
    slant = 0.3 * height if canvas.light.slant > 0 else -0.3 * height
    middle = top + (0.35 + 0.5 * share) * height
    sky = mix(room, canvas.light.horizon, 0.42)
    outline = arch(box, rise)[:-2] if rise > 0 else [(left, top), (right, top)]
    ends = [(right, min(bottom, middle + slant / 2)), (left, min(bottom, middle - slant / 2))]
    canvas.polygon([*outline, *ends], sky, WINDOW, glow=True)


def draw_panes(canvas: Canvas, box: Box, rise: float, panes: tuple[int, int], frame: Colour) -> None:
    """Glazing bars that split `box` into `panes` columns and rows."""
    left, top, right, bottom = box
    columns, rows = panes
    for column in range(1, columns):
        x = left + (right - left) * column / columns
        canvas.box((x - 0.4, arch_top(box, rise, x), x + 0.4, bottom), frame, WINDOW)
    for row in range(1, rows):
        y = top + (bottom - top) * row / rows
        if y >= top + rise:
            canvas.box((left, y - 0.35, right, y + 0.35), frame, WINDOW)


def shade_reveal(canvas: Canvas, box: Box, rise: float, depth: float = 2.2) -> None:
    """The shadow that the wall throws into a recessed opening, from above and from the sunny side."""
    left, top, right, bottom = box
    across, down = canvas.light.slant * depth, canvas.light.drop * depth
    canvas.shade(
        [*arch(box, rise)[: -2 if rise > 0 else 2], (right, top + rise + down), (left, top + rise + down)],
        0.9,
    )
    side = left if across > 0 else right
    canvas.shade([(side, top + rise), (side + across, top + rise), (side + across, bottom), (side, bottom)], 0.9)


def draw_ledge(canvas: Canvas, box: Box, colour: Colour, depth: float, region: int = TRIM) -> None:
    """A horizontal band that stands `depth` proud of the wall: lit on top, darker below, with its shadow."""
    left, top, right, bottom = box
    canvas.cast(box, depth)
    canvas.box(box, colour, region)
    third = (bottom - top) / 3
    canvas.box((left, top, right, top + third), shade(colour, 1.12), region)
    canvas.box((left, bottom - third, right, bottom), shade(colour, 0.82), region)


def _draw_head(canvas: Canvas, plan: Plan, box: Box, rise: float) -> None:
    """The stone or brick around and above the opening."""
    left, top, right, _ = box
    head, trim = plan.window.head, plan.trim
    if head == "lintel":
        canvas.polygon([(left - 2.5, top - 4), (right + 2.5, top - 4), (right + 1, top), (left - 1, top)], trim, TRIM)
    elif head == "voussoirs":
        _draw_voussoirs(canvas, plan, box, rise)
    elif head in ("surround", "pediment"):
        canvas.polygon(arch(grow(box, 2, 2, 0), rise), trim, TRIM)
        if rise > 0:
            centre = (left + right) / 2
            canvas.box((centre - 1.2, top - 3.4, centre + 1.2, top), shade(trim, 1.08), TRIM)
        else:
            draw_ledge(canvas, (left - 2.6, top - 3.6, right + 2.6, top - 1.6), trim, 2)
    if head == "pediment":
        peak = ((left + right) / 2, top - 7.5)
        canvas.polygon([(left - 2.6, top - 3.6), peak, (right + 2.6, top - 3.6)], shade(trim, 0.93), TRIM)
        canvas.line((left - 2.6, top - 3.6), peak, 0.8, shade(trim, 1.08), TRIM)
        canvas.line(peak, (right + 2.6, top - 3.6), 0.8, shade(trim, 1.04), TRIM)


def _draw_voussoirs(canvas: Canvas, plan: Plan, box: Box, rise: float) -> None:
    """An arch of brick on edge with a keystone."""
    left, top, right, _ = box
    outer = arch(grow(box, 2.6, 3.4, 0), rise)[: -2 if rise > 0 else 2]
    inner = arch(box, rise)[: -2 if rise > 0 else 2]
    colour = mix(plan.wall, plan.trim, 0.3)
    canvas.polygon([*outer, *reversed(inner)], colour, TRIM)
    for start, end in zip(outer[1:-1], inner[1:-1], strict=True):
        canvas.line(start, end, 0.5, shade(colour, 0.72), TRIM)
    centre = (left + right) / 2
    canvas.polygon(
        [
            (centre - 1.9, top - 4.2),
            (centre + 1.9, top - 4.2),
            (centre + 1.2, top + 0.4),
            (centre - 1.2, top + 0.4),
        ],
        plan.trim,
        TRIM,
    )


def _draw_shutters(canvas: Canvas, plan: Plan, box: Box) -> None:
    """A pair of louvred shutters, folded back against the wall."""
    left, top, right, bottom = box
    leaf = 0.3 * (right - left)
    for start in (left - leaf - 0.6, right + 0.6):
        board = (start, top, start + leaf, bottom)
        canvas.cast(board, 1.0)
        canvas.box(board, plan.accent, WINDOW)
        for step in range(1, 7):
            y = top + (bottom - top) * step / 7
            canvas.box((start + 0.7, y - 0.4, start + leaf - 0.7, y + 0.4), shade(plan.accent, 0.78), WINDOW)
