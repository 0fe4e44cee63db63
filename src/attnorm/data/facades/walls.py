"""The wall itself: its outline up to the roof line, its material, and weather on it."""

from itertools import pairwise

import numpy as np

from attnorm.data.facades.canvas import Box, Canvas, Point
from attnorm.data.facades.plan import Plan
from attnorm.data.facades.regions import WALL
from attnorm.data.facades.textures import MASONRY, masonry_field, noise

# Where each step of a stepped parapet begins, as shares of the way from its end to its middle.
STEPS = (0.0, 0.24, 0.48, 0.72, 1.0)
WEATHER = ((7, 7), (22, 22), (90, 90))  # octaves of stains and grain


def outline(plan: Plan) -> list[Point]:
    """The top edge of the wall from left to right: roofs differ in how far the wall rises into them."""
    left, right, eaves, height = plan.left, plan.right, plan.eaves, plan.roof_height
    if plan.roof == "gable":
        return [(left, eaves), ((left + right) / 2, eaves - height), (right, eaves)]
    if plan.roof == "flat":
        return [(left, eaves - height), (right, eaves - height)]
    if plan.roof == "stepped":
        return _steps(plan)
    if plan.roof == "sawtooth":
        teeth = max(2, plan.bays // 2 + 1)
        span = (right - left) / teeth
        starts = [left + span * tooth for tooth in range(teeth)]
        return [point for x in starts for point in ((x, eaves - height), (x + span, eaves - 0.25 * height))]
    return [(left, eaves), (right, eaves)]


def _steps(plan: Plan) -> list[Point]:
    """A parapet that climbs to the crest in steps from both ends."""
    half, last = (plan.right - plan.left) / 2, len(STEPS) - 2
    rising: list[Point] = []
    for step, (start, end) in enumerate(pairwise(STEPS)):
        y = plan.eaves - plan.roof_height * (0.25 + 0.75 * step / last)
        rising += [(plan.left + start * half, y), (plan.left + end * half, y)]
    falling = [(plan.left + plan.right - x, y) for x, y in reversed(rising)]
    return rising + falling


def draw_wall(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Fill the outline with the wall's material."""
    top = outline(plan)
    canvas.polygon([*top, (plan.right, plan.ground), (plan.left, plan.ground)], plan.wall, WALL)
    highest = min(y for _, y in top)
    lay_material(canvas, (plan.left, highest, plan.right, plan.ground), plan.texture, WALL, rng)


def lay_material(canvas: Canvas, box: Box, texture: str, region: int, rng: np.random.Generator) -> None:
    """Texture the part of `region` inside `box`, stain it, and let it darken towards the shady side."""
    x, y = canvas.grid(box)
    field = masonry_field(x, y, MASONRY[texture], rng)
    weather = noise(rng, WEATHER, 128)
    across, down = (x / 2).astype(np.intp), (y / 2).astype(np.intp)
    left, _, right, bottom = box
    from_sun = (x - (left + right) / 2) / (right - left) * np.sign(canvas.light.slant)
    foot = np.exp((y - bottom) / np.float32(9))  # splashes and grime at the foot
    slope = (1 - 0.09 * from_sun)[None, :] * (1 - 0.22 * foot)[:, None]
    canvas.multiply(box, field * slope * (1 + 0.035 * weather[down[:, None], across]), region)
