"""Outlines that several parts of a building share."""

import math

from attnorm.data.facades.canvas import Box, Point


def arch(box: Box, rise: float) -> list[Point]:
    """The outline of `box` with its top edge bowed: the crown at `top`, the springing `rise` below it."""
    left, top, right, bottom = box
    if rise <= 0:
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    steps = 10
    xs = [left + (right - left) * step / steps for step in range(steps + 1)]
    return [*((x, arch_top(box, rise, x)) for x in xs), (right, bottom), (left, bottom)]


def arch_top(box: Box, rise: float, x: float) -> float:
    """y of the top edge of `arch(box, rise)` at `x`."""
    left, top, right, _ = box
    offset = (2 * x - left - right) / (right - left)
    return top + rise * (1 - math.sqrt(max(0.0, 1 - offset * offset)))


def grow(box: Box, across: float, up: float, down: float) -> Box:
    """`box` with its sides moved outwards (inwards where negative)."""
    left, top, right, bottom = box
    return left - across, top - up, right + across, bottom + down
