"""What describes an architectural style. Lengths are in canvas units (the picture is 256 wide)."""

from dataclasses import dataclass

from attnorm.data.facades.colour import Colour

Span = tuple[float, float]


@dataclass(frozen=True)
class WindowLook:
    """The shape of a window inside its bay."""

    width: float  # share of the bay
    height: float  # share of the storey
    columns: int  # panes across
    rows: int  # panes down
    rise: float = 0.0  # height of the arch, as a share of the width
    head: str = "plain"  # "plain", "lintel", "pediment", "surround" or "voussoirs"
    sill: bool = True


@dataclass(frozen=True)
class Style:
    """The ranges and choices from which one building of a style is drawn."""

    name: str
    storeys: tuple[int, int]
    width: Span
    bay: Span  # width of a bay
    storey: Span  # height of a storey
    ground_storey: Span  # height of the ground floor, as a multiple of `storey`
    texture: tuple[str, ...]  # keys of textures.MASONRY
    roof_texture: str
    walls: tuple[Colour, ...]
    trims: tuple[Colour, ...]
    frames: tuple[Colour, ...]
    roofs: tuple[Colour, ...]
    accents: tuple[Colour, ...]  # doors, shutters, shopfronts, awnings
    roof_shapes: tuple[str, ...]  # keys of roofs.ROOFS
    skyline: tuple[str, ...]  # keys of skyline.SKYLINE
    windows: tuple[WindowLook, ...]
    balconies: tuple[str, ...]  # "none", "rows", "single", "glass", "solid" or "escape"
    door: str  # key of doors.DOORS
    shops: float  # probability of a shop on the ground floor
    shutters: float = 0.0  # probability
    ornaments: tuple[str, ...] = ()  # keys of ornaments.ORNAMENTS
    house_bays: int = 0  # in a row of equal houses, the bays of each; 0 where the building is one house
