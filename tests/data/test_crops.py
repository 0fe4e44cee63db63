"""Windows around masks: everything missing is covered once, with enough around it."""

import numpy as np
import pytest

from attnorm.data.compositing import Box, windows_of


def mask_of(height, width, *boxes):
    mask = np.zeros((height, width), bool)
    for box in boxes:
        mask[Box(*box).slices] = True
    return mask


def test_a_small_mask_gets_a_window_of_the_side_around_it_and_a_large_one_as_much_again():
    (window,) = windows_of(mask_of(1000, 800, (500, 540, 300, 340)), 256)
    assert window.size == (256, 256)
    assert abs(sum(window[:2]) / 2 - 520) <= 32 and abs(sum(window[2:]) / 2 - 320) <= 32  # within a cell
    (window,) = windows_of(mask_of(2000, 2000, (640, 1280, 640, 960)), 256)
    assert window.size == (1280, 640)


def test_masks_far_apart_have_windows_of_their_own_and_near_ones_share():
    far = windows_of(mask_of(2000, 2000, (100, 110, 100, 110), (1900, 1910, 1900, 1910)), 256)
    assert [window.size for window in far] == [(256, 256)] * 2
    near = windows_of(mask_of(2000, 2000, (1000, 1010, 1000, 1010), (1000, 1010, 1150, 1160)), 256)
    assert len(near) == 1
    assert near[0].left <= 1000 and near[0].right >= 1160


@pytest.mark.parametrize("seed", range(6))
def test_every_mask_is_covered_and_no_two_windows_overlap(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(50, 900, 2)
    mask = np.zeros((height, width), bool)
    for _ in range(random.integers(1, 25)):
        top, left = random.integers(0, height - 1), random.integers(0, width - 1)
        mask[top : top + random.integers(1, 60), left : left + random.integers(1, 60)] = True
    windows = windows_of(mask, 64, 8)
    count = np.zeros((height, width), int)
    for window in windows:
        assert 0 <= window.top < window.bottom <= height and 0 <= window.left < window.right <= width
        count[window.slices] += 1
        assert mask[window.slices].any()
        assert all(length % 8 == 0 or length == whole for length, whole in zip(window.size, mask.shape, strict=True))
    assert count.max() == 1
    assert (count[mask] == 1).all()
