"""Trees and hedges before the building."""

from dataclasses import dataclass

import numpy as np

from attnorm.data.chance import between, happens, pick
from attnorm.data.facades.canvas import UNITS, Canvas
from attnorm.data.facades.colour import Colour, shade, vary
from attnorm.data.facades.plan import Plan
from attnorm.data.facades.regions import TREE

LEAVES: tuple[Colour, ...] = (
    (84, 128, 60),
    (72, 112, 66),
    (108, 140, 62),
    (196, 132, 52),
    (180, 84, 50),
    (222, 166, 178),
)
BARK: Colour = (92, 72, 56)


@dataclass(frozen=True)
class Tree:
    """A crown of `radius` (across, up) around `centre`, on a trunk down to `foot`."""

    centre: tuple[float, float]
    radius: tuple[float, float]
    foot: float
    leaf: Colour
    tufts: np.ndarray  # (n, 3): x and y in the unit disc, size 0..1
    distance: float  # from the wall behind it


def plant_trees(rng: np.random.Generator, plan: Plan) -> list[Tree]:
    """Up to two street trees towards the sides of the picture, sometimes with a hedge at their feet."""
    season = pick(rng, LEAVES)
    trees: list[Tree] = []
    for start, end in ((0.0, 60.0), (196.0, 256.0)):
        if happens(rng, 0.42):
            across = between(rng, (15, 30))
            up = across * between(rng, (0.9, 1.7))
            foot = plan.ground + between(rng, (4, 8))
            centre = (between(rng, (start, end)), foot - up - between(rng, (18, 40)))
            trees.append(Tree(centre, (across, up), foot, vary(rng, season, 0.12), _tufts(rng, 170), distance=13))
    if happens(rng, 0.3):
        x = between(rng, (0, UNITS))
        across = between(rng, (16, 40))
        leaf = vary(rng, LEAVES[0], 0.2)
        trees.append(Tree((x, plan.ground - 4), (across, 8.0), plan.ground + 4, leaf, _tufts(rng, 150), distance=3))
    return trees


def _tufts(rng: np.random.Generator, count: int) -> np.ndarray:
    """Tufts of leaves spread over the unit disc, those at the back (the rim and the bottom) first."""
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
    x, y = reach * np.cos(angle), reach * np.sin(angle)
    size = rng.uniform(0.5, 1, count)
    return np.stack([x, y, size], axis=1)[np.argsort(-y + 0.6 * rng.uniform(-1, 1, count))]


def shade_wall(canvas: Canvas, tree: Tree) -> None:
    """The dappled shadow of a tree on the building behind it."""
    (x, y), (across, up) = tree.centre, tree.radius
    x, y = x + tree.distance * canvas.light.slant, y + tree.distance * canvas.light.drop
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ripple = 1 + 0.16 * np.sin(5 * angles) + 0.1 * np.cos(9 * angles)
    outline = np.stack([x + across * ripple * np.cos(angles), y + up * ripple * np.sin(angles)], axis=1)
    canvas.shade([(float(a), float(b)) for a, b in outline], 0.55)


def draw_tree(canvas: Canvas, tree: Tree) -> None:
    """Trunk, branches, then tufts from the shady back to the sunny front."""
    (x, y), (across, up) = tree.centre, tree.radius
    trunk = 0.07 * across + 0.6
    canvas.polygon(
        [(x - trunk, y), (x + trunk, y), (x + 1.5 * trunk, tree.foot), (x - 1.5 * trunk, tree.foot)],
        BARK,
        TREE,
    )
    for side in (-0.5, 0.5):
        canvas.line((x, y + 0.8 * up), (x + side * across, y + 0.2 * up), 1.4, shade(BARK, 0.8), TREE)
    sun = -1.0 if canvas.light.slant > 0 else 1.0
    for tuft_x, tuft_y, size in tree.tufts.tolist():
        left, top = x + across * tuft_x, y + up * tuft_y
        half = (0.06 + 0.13 * size) * min(across, up) + 0.8
        brightness = 0.86 - 0.34 * tuft_y + 0.2 * sun * tuft_x + 0.4 * (size - 0.75)
        canvas.ellipse(
            (left - half, top - 0.8 * half, left + half, top + 0.8 * half), shade(tree.leaf, brightness), TREE
        )
