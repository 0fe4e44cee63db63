"""Masks: at two sizes, grown and shrunk."""

import numpy as np
import pytest

from attnorm.app.masks import FURTHEST, as_layer, changed_by, painted, reduced, resized


def within(mask, radius):
    """Which pixels have a marked one at most `radius` away, by all distances."""
    rows, columns = np.indices(mask.shape)
    found = np.zeros_like(mask)
    for row, column in np.argwhere(mask):
        found |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return found


@pytest.mark.parametrize("radius", [0, 1, 3, 40])
def test_growing_marks_what_is_near_and_shrinking_what_is_far_from_the_rest(radius):
    mask = np.random.default_rng(radius).random((23, 31)) < 0.02
    mask[0, 0] = mask[22, 30] = True  # corners too
    assert np.array_equal(changed_by(radius, mask), within(mask, radius))
    assert np.array_equal(changed_by(-radius, ~mask), ~within(mask, radius))


def test_a_mask_at_the_edge_does_not_shrink_away_from_it():
    mask = np.zeros((10, 10), bool)
    mask[:, :5] = True
    assert np.array_equal(changed_by(-2, mask), np.arange(10)[None].repeat(10, 0) < 3)


def test_a_change_has_a_limit(sentence_of):
    assert f"at most {FURTHEST} pixels" in sentence_of(changed_by, FURTHEST + 1, np.ones((4, 4), bool))


def test_what_is_painted_is_what_comes_back():
    mask = np.random.default_rng(0).random((9, 7)) < 0.5
    layer = as_layer(mask)
    assert np.array_equal(painted(layer), mask)
    layer[..., 3] //= 3  # the rim of a stroke, or what an eraser left
    assert not painted(layer).any()


def test_a_smaller_mask_marks_what_is_marked_by_half():
    mask = np.zeros((4, 4), bool)
    mask[:2, :3] = True  # of the four squares of 2 x 2, the first whole, the second half
    assert np.array_equal(reduced(mask, (2, 2)), [[True, True], [False, False]])
    assert reduced(mask, (4, 4)) is mask


def test_a_larger_mask_repeats_pixels():
    mask = np.array([[True, False]])
    assert np.array_equal(resized(mask, (2, 4)), [[True, True, False, False]] * 2)
