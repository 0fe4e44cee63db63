"""Colours as 8-bit RGB triples, and the few ways the renderer changes them."""

import numpy as np

Colour = tuple[int, int, int]


def shade(colour: Colour, factor: float) -> Colour:
    """Darken (`factor` < 1) or brighten (> 1) a colour."""
    red, green, blue = colour
    return min(255, int(red * factor)), min(255, int(green * factor)), min(255, int(blue * factor))


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that lies `share` (0..1) of the way from `first` to `second`."""
    red, green, blue = (int(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def vary(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    """A neighbour of `colour`: brightness moves by up to `spread`, each channel a little on its own."""
    brightness = 1 + spread * rng.uniform(-1, 1)
    channels = brightness * (1 + 0.25 * spread * rng.uniform(-1, 1, 3))
    red, green, blue = (min(255, int(c * f)) for c, f in zip(colour, channels, strict=True))
    return red, green, blue
