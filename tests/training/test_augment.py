"""DiffAugment against its definitions, image by image."""

import torch

from attnorm.training.augment import augmented


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(count=64, height=16, width=24):
    return torch.rand(count, 3, height, width, generator=generator(7), dtype=torch.float64) * 2 - 1


def test_colour_is_brightness_then_saturation_then_contrast():
    x = images()
    b, s, c = torch.rand(3, len(x), 1, 1, 1, generator=generator()).double()
    for index, changed in enumerate(augmented(x, ["color"], generator())):
        expected = x[index] + b[index] - 0.5
        grey = expected.mean(0, keepdim=True)
        expected = (expected - grey) * (2 * s[index]) + grey
        expected = (expected - expected.mean()) * (c[index] + 0.5) + expected.mean()
        torch.testing.assert_close(changed, expected)


def test_translation_moves_by_up_to_an_eighth_and_brings_zeros_in():
    x = images(400)
    seen = set()
    for before, after in zip(x, augmented(x, ["translation"], generator()), strict=True):
        padded = torch.nn.functional.pad(before, (3, 3, 2, 2))
        fits = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-3, 4)
            if torch.equal(after, padded[:, 2 + dy : 18 + dy, 3 + dx : 27 + dx])
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert len(seen) == 5 * 7  # every shift occurs


def test_cutout_zeroes_one_rectangle_of_half_the_sides():
    heights, widths = set(), set()
    for after in augmented(images(400).abs() + 0.1, ["cutout"], generator()):
        gone = (after == 0).all(0)
        assert torch.equal((after == 0).any(0), gone)
        top, bottom, left, right = (gone.nonzero()[:, axis].aminmax()[end] for axis in (0, 1) for end in (0, 1))
        assert gone.sum() == (bottom + 1 - top) * (right + 1 - left)
        heights.add(int(bottom + 1 - top))
        widths.add(int(right + 1 - left))
    assert (max(heights), max(widths)) == (8, 12)
    assert min(heights) < 8  # some of it may be outside
