"""What surrounds the building: the houses next door, the pavement and the road."""

import numpy as np

from attnorm.data.chance import between, happens, pick
from attnorm.data.facades.canvas import UNITS, Box, Canvas
from attnorm.data.facades.colour import Colour, mix, vary
from attnorm.data.facades.plan import Plan
from attnorm.data.facades.regions import GROUND, ROOF, WALL, WINDOW
from attnorm.data.facades.walls import lay_material

PLASTERS: tuple[Colour, ...] = (
    (190, 176, 156),
    (168, 150, 136),
    (176, 180, 180),
    (198, 184, 150),
    (150, 128, 116),
)
PAVING: Colour = (172, 168, 160)
ASPHALT: Colour = (84, 86, 90)


def draw_neighbours(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Plainer and paler houses that fill the street on either side."""
    for span in ((-2.0, plan.left), (plan.right, UNITS + 2.0)):
        if happens(rng, 0.75) and span[1] - span[0] > 8:
            height = between(rng, (0.5, 0.95)) * (plan.ground - plan.eaves)
            _draw_neighbour(canvas, (span[0], plan.ground - height, span[1], plan.ground), rng)


def _draw_neighbour(canvas: Canvas, box: Box, rng: np.random.Generator) -> None:
    """A plain house of even windows that fills `box` under a strip of roof."""
    left, top, right, bottom = box
    # Set back from the street, hence a little lost in the haze.
    wall = mix(vary(rng, pick(rng, PLASTERS), 0.15), canvas.light.horizon, 0.15)
    canvas.box((left - 1, top - between(rng, (3, 12)), right + 1, top), mix(wall, (80, 74, 76), 0.6), ROOF)
    canvas.box(box, wall, WALL)
    lay_material(canvas, box, "plaster", WALL, rng)
    storey, gap = between(rng, (26, 36)), between(rng, (20, 26))
    for y in np.arange(top + 6, bottom - 20, storey):
        for x in np.arange(left + 5, right - 10, gap):
            lit = happens(rng, canvas.light.lit)
            colour: Colour = (240, 196, 120) if lit else mix((58, 64, 74), canvas.light.horizon, 0.2)
            canvas.box((x - 1, y - 1, x + 12, y + 18), mix(wall, (255, 255, 255), 0.35), WINDOW)
            canvas.box((x, y, x + 11, y + 17), colour, WINDOW, glow=lit)
            canvas.box((x + 5, y, x + 6, y + 17), mix(wall, (255, 255, 255), 0.35), WINDOW)


def draw_street(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Pavement, kerb and road."""
    ground = plan.ground
    kerb = ground + between(rng, (7, 11))
    canvas.box((0, ground, UNITS, kerb), vary(rng, PAVING, 0.08), GROUND)
    for joint in range(-14, 15):
        # Joints run towards a vanishing point behind the building.
        canvas.line((128 + 11 * joint, ground + 1), (128 + 12.2 * joint, kerb), 0.5, (138, 134, 128), GROUND)
    canvas.box((0, ground, UNITS, ground + 1.2), (112, 108, 102), GROUND)
    canvas.box((0, kerb, UNITS, kerb + 2), (196, 194, 188), GROUND)
    canvas.box((0, kerb + 2, UNITS, kerb + 3), (58, 58, 60), GROUND)
    canvas.box((0, kerb + 3, UNITS, UNITS), vary(rng, ASPHALT, 0.12), GROUND)
    if happens(rng, 0.6):
        for dash in range(-1, 6):
            canvas.box((48 * dash + 12, 251, 48 * dash + 36, 252.4), (214, 212, 204), GROUND)
    lay_material(canvas, (0, ground, UNITS, UNITS), "plaster", GROUND, rng)
