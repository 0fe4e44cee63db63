"""Surface textures as fields that multiply a colour, computed at any resolution from the same draws."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Masonry:
    """Rectangular units in rows: bricks, panels, slates. Lengths in canvas units, tones as factors."""

    width: float
    height: float
    joint: float  # thickness of the gap between units
    joint_tone: float
    spread: float  # how much units differ in tone
    offset: float = 0.5  # shift of every second row, in unit widths


MASONRY: dict[str, Masonry] = {
    "brick": Masonry(7.0, 3.0, 0.6, 1.22, 0.10),
    "dark brick": Masonry(7.0, 3.0, 0.6, 0.72, 0.13),
    "ashlar": Masonry(19.0, 8.0, 0.7, 0.82, 0.03),
    "panels": Masonry(27.0, 14.0, 0.8, 0.74, 0.035, offset=0.0),
    "plaster": Masonry(300.0, 300.0, 0.0, 1.0, 0.0),
    "slates": Masonry(6.0, 3.6, 0.8, 0.74, 0.09),
    "tiles": Masonry(4.0, 4.2, 1.1, 0.66, 0.10, offset=0.0),
    "zinc": Masonry(8.0, 300.0, 0.8, 0.72, 0.03, offset=0.0),
}


def masonry_field(x: np.ndarray, y: np.ndarray, masonry: Masonry, rng: np.random.Generator) -> np.ndarray:
    """Tone factors (h, w), float32, around 1 at unit coordinates `x` (w,) and `y` (h,) in 0..256."""
    # The table covers the whole canvas whatever part of it is asked for: draws must not depend on the grid.
    rows, columns = int(256 / masonry.height) + 2, int(256 / masonry.width) + 3
    tones = (1 + masonry.spread * rng.standard_normal((rows, columns), dtype=np.float32)).clip(0.5, 1.5)
    shifted = np.stack([x, x + masonry.offset * masonry.width]) / np.float32(masonry.width)
    row = (y / masonry.height).astype(np.intp)
    field = tones[:, shifted.astype(np.intp)]  # (rows, 2, w): every row of units, as an even and an odd row
    upright = (shifted % 1) * masonry.width < masonry.joint
    field[:, upright] = masonry.joint_tone
    field = field[row, row % 2]
    field[(y % masonry.height) < masonry.joint] = masonry.joint_tone
    return field


def noise(rng: np.random.Generator, octaves: tuple[tuple[int, int], ...], size: int) -> np.ndarray:
    """Smooth noise (size, size), float32, mean about 0 and spread about 1, from grids of (rows, columns)."""
    total = np.zeros((size, size), np.float32)
    for octave, (rows, columns) in enumerate(octaves):
        grid = Image.fromarray(rng.standard_normal((rows, columns), dtype=np.float32))
        total += np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC)) * np.float32(0.62**octave)
    return total
