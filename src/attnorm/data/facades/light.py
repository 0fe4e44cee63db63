"""The time of day: sky colours, the tint on every surface, and where shadows fall."""

from dataclasses import dataclass, replace

import numpy as np

from attnorm.data.chance import between, happens, pick
from attnorm.data.facades.colour import Colour


@dataclass(frozen=True)
class Light:
    """One moment's light. `slant` and `drop` are how far a shadow runs right and down per unit of depth."""

    zenith: Colour
    horizon: Colour
    cloud: Colour
    tint: tuple[float, float, float]  # multiplies the colour of every surface that does not glow
    shadow: float  # darkness of a cast shadow, 0..1
    lit: float  # share of the windows with a lamp on behind them
    slant: float = 0.0
    drop: float = 1.0


NOON = Light((62, 124, 204), (186, 216, 240), (255, 255, 255), (1.0, 1.0, 0.98), 0.58, 0.02)
MORNING = Light((108, 158, 212), (244, 226, 202), (255, 246, 236), (1.04, 0.98, 0.90), 0.50, 0.06)
GOLDEN = Light((94, 126, 182), (254, 198, 128), (255, 214, 170), (1.10, 0.94, 0.74), 0.56, 0.12)
OVERCAST = Light((158, 170, 184), (214, 219, 224), (236, 238, 240), (0.90, 0.92, 0.95), 0.22, 0.14)
DUSK = Light((32, 42, 92), (236, 138, 112), (150, 100, 128), (0.56, 0.55, 0.70), 0.22, 0.50)

MOMENTS = (NOON, NOON, MORNING, GOLDEN, OVERCAST, DUSK)


def choose_light(rng: np.random.Generator) -> Light:
    """A moment of the day with the sun to the left or to the right of the street."""
    side = 1.0 if happens(rng, 0.5) else -1.0
    return replace(pick(rng, MOMENTS), slant=side * between(rng, (0.35, 1.0)), drop=between(rng, (0.7, 1.3)))
