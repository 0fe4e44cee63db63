"""Colours that stay with their entity and that everybody can distinguish."""

import numpy as np
import pytest

from attnorm import plots

# Simulation of full colour blindness on linear RGB: Machado, Oliveira, Fernandes (2009), severity 1.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def oklab(colours, vision):
    """(n, 3) uint8 -> Ottosson's OKLab as seen with a vision; a distance of 0.02 is just noticeable."""
    srgb = colours / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    red, green, blue = np.clip(np.asarray(VISIONS[vision]) @ linear.T, 0, 1)
    cones = np.cbrt(
        [
            0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue,
            0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue,
            0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue,
        ]
    )
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return (np.asarray(to_lab) @ cones).T


@pytest.mark.parametrize(("vision", "least"), [("normal", 0.17), *((v, 0.10) for v in list(VISIONS)[1:])])
def test_sixteen_colours_differ_from_each_other_and_from_white_in_every_vision(vision, least):
    lab = oklab(np.vstack([plots.entity_colours(16), [[255, 255, 255]]]), vision)
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + np.eye(17)
    assert distances[:16, :16].min() > least and distances[16].min() > 0.10


@pytest.mark.parametrize("count", [0, 16, 64])
def test_an_entity_keeps_its_colour_however_many_there_are(count):
    colours = plots.entity_colours(count)
    assert (colours.shape, colours.dtype) == ((count, 3), np.uint8)
    assert np.array_equal(colours, plots.entity_colours(300)[:count])
    assert len({tuple(colour) for colour in colours.tolist()}) == count
