"""The sky behind a building."""

import numpy as np
from PIL import Image

from attnorm.data.chance import between
from attnorm.data.facades.light import Light
from attnorm.data.facades.textures import noise

SIDE = 112  # the sky is smooth: drawn at this size, then enlarged


def paint_sky(rng: np.random.Generator, light: Light, side: int) -> Image.Image:
    """An RGB picture (side, side): a gradient, the glow of the sun, and clouds lit from above."""
    across = np.linspace(0, 1, SIDE, dtype=np.float32)
    down = across[:, None]
    zenith, horizon, cloud = (np.array(c, np.float32) for c in (light.zenith, light.horizon, light.cloud))
    sky = zenith + (horizon - zenith) * (down**0.8)[..., None]

    # Shadows run away from the sun.
    sun_x = 0.5 - 0.45 * np.sign(light.slant)
    glow = np.exp(-(((across - sun_x) / 0.5) ** 2 + ((down - 0.55) / 0.45) ** 2))
    sky = sky + (np.array((255, 240, 205), np.float32) - sky) * (0.45 * glow)[..., None]

    billows = noise(rng, ((5, 3), (10, 6), (22, 12), (48, 30)), SIDE)
    cover = between(rng, (-0.6, 1.5))
    amount = np.clip((billows - cover) / 1.2, 0, 1)
    # A cloud is dark where more cloud lies above it.
    above = np.concatenate([billows[:5], billows[:-5]])
    relief = np.clip(0.5 * (billows - above), -1, 1)
    colour = cloud * (0.93 + 0.07 * relief)[..., None]
    sky += (colour - sky) * (0.85 * amount)[..., None]
    small = Image.fromarray(np.clip(sky, 0, 255).astype(np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)
