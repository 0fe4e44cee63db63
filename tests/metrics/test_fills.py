"""Fills without a network."""

import numpy as np
import pytest

from attnorm.metrics.fills import mean_colour, telea


@pytest.fixture
def holes():
    found = np.zeros((2, 8, 8), bool)
    found[0, 2:5, 3:6], found[1, :4] = True, True
    return found


def test_the_mean_colour_is_that_of_the_known_pixels(holes):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    filled = mean_colour(pictures, holes)
    for picture, hole, found in zip(pictures, holes, filled, strict=True):
        assert np.array_equal(found[~hole], picture[~hole])
        assert (found[hole] == picture[~hole].mean(0).round()).all()


def test_telea_goes_on_with_what_is_around_the_hole(holes):
    pytest.importorskip("cv2")
    pictures = np.full((2, 8, 8, 3), 90, np.uint8)
    pictures[holes] = 255
    filled = telea(pictures, holes)
    assert (filled[~holes] == 90).all()
    assert (abs(filled.astype(int) - 90) <= 3).all()
