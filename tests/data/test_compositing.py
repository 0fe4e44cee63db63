"""Compositing leaves every pixel outside the mask as it was, in every kind of image."""

import numpy as np
import pytest
from PIL import Image

from attnorm.data.compositing import EditableImage, check_mask
from attnorm.data.decode import DecodeError

MASK = np.zeros((6, 8), bool)
MASK[2:5, 3:7] = True
RGB = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def noise(*shape, high=256, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, high, (6, 8, *shape)).astype(dtype)


def composite(image):
    editable = EditableImage(image)
    assert editable.size == (6, 8)
    return editable.composite(RGB, MASK)


GREY = np.asarray(Image.fromarray(RGB).convert("L"))


@pytest.mark.promise
@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(noise(3)), RGB),
        (Image.fromarray(noise(4)), np.dstack([RGB, np.full((6, 8), 255)])),
        (Image.fromarray(noise()), GREY),
        (Image.fromarray(noise(2)), np.dstack([GREY, np.full((6, 8), 255)])),
        (Image.fromarray(noise(high=65536, dtype=np.uint16)), GREY.astype(int) * 257),
    ],
    ids=["RGB", "RGBA", "L", "LA", "I;16"],
)
def test_a_kept_mode_keeps_its_pixels_bit_for_bit(image, expected):
    out = composite(image)
    assert out.mode == image.mode
    before, after = np.asarray(image), np.asarray(out)
    assert after.dtype == before.dtype
    assert np.array_equal(after[~MASK], before[~MASK])
    assert np.array_equal(after[MASK], expected[MASK])


def palette(**info):
    image = Image.fromarray(noise(3)).quantize(16)
    image.info |= info
    return image


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (palette(), "RGB"),
        (palette(transparency=3), "RGBA"),
        (Image.fromarray(noise() > 128), "L"),
        (Image.fromarray(noise(4), "CMYK"), "RGB"),
        (Image.fromarray(noise(3)).convert("YCbCr"), "RGB"),
    ],
    ids=["P", "P with transparency", "1", "CMYK", "YCbCr"],
)
def test_other_modes_become_the_nearest_one_that_can_be_written(image, mode):
    out = composite(image)
    assert out.mode == mode
    assert np.array_equal(np.asarray(out)[~MASK], np.asarray(image.convert(mode))[~MASK])


def test_the_network_sees_transparency_over_white_and_16_bits_as_8():
    image = Image.fromarray(np.full((6, 8, 4), (10, 20, 30, 0), np.uint8))
    assert (EditableImage(image).rgb == 255).all()
    image = Image.fromarray(np.full((6, 8), 257 * 77, np.uint16))
    assert (EditableImage(image).rgb == 77).all()


def test_transparent_pixels_can_be_the_mask():
    pixels = noise(4)
    pixels[..., 3] = 255
    pixels[MASK, 3] = 127
    assert np.array_equal(EditableImage(Image.fromarray(pixels)).transparent(), MASK)
    grey = Image.fromarray(pixels).convert("LA")
    assert np.array_equal(EditableImage(grey).transparent(), MASK)
    for image in (Image.fromarray(noise(3)), Image.fromarray(noise()), Image.fromarray(noise(dtype=np.uint16))):
        with pytest.raises(DecodeError, match="no transparent pixels"):
            EditableImage(image).transparent()


def test_masks_of_another_size_are_refused_unless_scaling_is_allowed():
    with pytest.raises(DecodeError, match=r"the mask is 8×6, not 16×12 like the image: scale it$"):
        check_mask(MASK, (12, 16), remedy="scale it")
    assert np.array_equal(check_mask(MASK, (12, 16), resize=True), MASK.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize(("value", "part"), [(False, "marks no pixel"), (True, "marks every pixel")])
def test_masks_that_leave_nothing_to_do_or_nothing_known_are_refused(value, part):
    with pytest.raises(DecodeError, match=part):
        check_mask(np.full((6, 8), value), (6, 8))
