"""One building, decided before anything is drawn: its grid of bays and storeys, its colours, its features."""

from dataclasses import dataclass

import numpy as np

from attnorm.data.chance import between, happens, pick, whole
from attnorm.data.facades.canvas import UNITS, Box
from attnorm.data.facades.colour import Colour, shade, vary
from attnorm.data.facades.styles import Span, Style, WindowLook

BRICK: Colour = (150, 86, 66)

ROOF_HEIGHT: dict[str, Span] = {
    "pitched": (30, 46),
    "mansard": (27, 36),
    "flat": (5, 9),
    "stepped": (14, 26),
    "sawtooth": (14, 24),
}
GABLE_PITCH: Span = (0.42, 0.58)  # a gable is as high as this share of its width


@dataclass(frozen=True)
class Plan:
    """A building on the canvas. Storeys count from the ground floor (0) up, bays from left to right."""

    style: Style
    left: float
    right: float
    ground: float  # y of the foot of the wall
    floors: tuple[float, ...]  # y of each floor, then of the eaves: storeys + 1 values, falling
    bays: int
    roof: str
    roof_height: float
    inset: float  # by how much the crest of the roof is shorter than the eaves, at either end
    texture: str
    wall: Colour
    trim: Colour
    frame: Colour
    roof_colour: Colour
    chimney: Colour
    accent: Colour
    window: WindowLook
    balcony: str
    shutters: bool
    ground_floor: tuple[str, ...]  # per bay: "door", "shop" or "window"

    @property
    def storeys(self) -> int:
        return len(self.floors) - 1

    @property
    def eaves(self) -> float:
        return self.floors[-1]

    @property
    def crest(self) -> float:
        """y of the top of the roof."""
        return self.eaves - self.roof_height

    @property
    def bay_width(self) -> float:
        return (self.right - self.left) / self.bays

    def cell(self, storey: int, bay: int) -> Box:
        """The rectangle of wall that belongs to one bay of one storey."""
        left = self.left + bay * self.bay_width
        return left, self.floors[storey + 1], left + self.bay_width, self.floors[storey]

    def edges(self) -> list[float]:
        """x of the lines between bays, both corners of the building included."""
        return [self.left + bay * self.bay_width for bay in range(self.bays + 1)]


def choose_plan(rng: np.random.Generator, style: Style) -> Plan:
    """A building of the given style, no taller than the canvas, perhaps a little wider."""
    width = between(rng, style.width)
    bays = max(2, round(width / between(rng, style.bay)))
    slack = (UNITS - width) / 2
    left = slack + 0.7 * slack * float(rng.uniform(-1, 1)) if slack > 0 else slack
    ground = between(rng, (222, 232))
    roof = pick(rng, style.roof_shapes)
    floors, roof_height = _heights(rng, style, roof, width, ground)
    wall = vary(rng, pick(rng, style.walls), 0.08)
    texture = pick(rng, style.texture)
    return Plan(
        style=style,
        left=left,
        right=left + width,
        ground=ground,
        floors=floors,
        bays=bays,
        roof=roof,
        roof_height=roof_height,
        inset=_inset(rng, roof, roof_height),
        texture=texture,
        wall=wall,
        trim=vary(rng, pick(rng, style.trims), 0.05),
        frame=vary(rng, pick(rng, style.frames), 0.04),
        roof_colour=vary(rng, pick(rng, style.roofs), 0.1),
        chimney=BRICK if texture == "plaster" else shade(wall, 0.9),
        accent=vary(rng, pick(rng, style.accents), 0.1),
        window=pick(rng, style.windows),
        balcony=pick(rng, style.balconies),
        shutters=happens(rng, style.shutters),
        ground_floor=_ground_floor(rng, style, bays, left, width / bays),
    )


def _heights(
    rng: np.random.Generator, style: Style, roof: str, width: float, ground: float
) -> tuple[tuple[float, ...], float]:
    """The floors (as `Plan.floors`) and the height of the roof, shrunk together where they would not fit."""
    roof_height = width * between(rng, GABLE_PITCH) if roof == "gable" else between(rng, ROOF_HEIGHT[roof])
    storeys, storey = whole(rng, style.storeys), between(rng, style.storey)
    ground_storey = storey * between(rng, style.ground_storey)
    headroom = between(rng, (14, 30))
    fit = min(1.0, (ground - headroom) / (ground_storey + (storeys - 1) * storey + roof_height))
    upper_floors = [ground - fit * (ground_storey + upper * storey) for upper in range(storeys)]
    return (ground, *upper_floors), fit * roof_height


def _inset(rng: np.random.Generator, roof: str, height: float) -> float:
    """How far the ends of a roof lean in: mansards always, pitched roofs where they are hipped."""
    if roof == "mansard":
        return 0.22 * height
    if roof == "pitched" and happens(rng, 0.4):
        return between(rng, (10, 26))
    return 0.0


def _ground_floor(rng: np.random.Generator, style: Style, bays: int, left: float, bay_width: float) -> tuple[str, ...]:
    """What stands in each bay at street level. There is always a door that lies inside the picture."""
    others = "shop" if happens(rng, style.shops) else "window"
    kinds = [others] * bays
    visible = [bay for bay in range(bays) if left + bay * bay_width > 0 and left + (bay + 1) * bay_width < UNITS]
    door = pick(rng, visible)
    kinds[door] = "door"
    if style.house_bays and others == "window":
        for bay in range(door % style.house_bays, bays, style.house_bays):
            kinds[bay] = "door"
    return tuple(kinds)
