"""Filling a hole leaves every other pixel of every kind of picture as it was."""

import io

import numpy as np
import pytest
from PIL import Image

from attnorm.data.decode import DecodeError
from attnorm.data.editable import EditablePicture, as_marked

HOLE = np.zeros((6, 8), bool)
HOLE[2:5, 3:7] = True
FILL = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def noise(*shape, high=256, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, high, (6, 8, *shape)).astype(dtype)


def filled(image):
    picture = EditablePicture(image)
    assert picture.size == (6, 8)
    return picture.filled(FILL, HOLE)


GREY = np.asarray(Image.fromarray(FILL).convert("L"))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(noise(3)), FILL),
        (Image.fromarray(noise(4)), np.dstack([FILL, np.full((6, 8), 255)])),
        (Image.fromarray(noise()), GREY),
        (Image.fromarray(noise(2)), np.dstack([GREY, np.full((6, 8), 255)])),
        (Image.fromarray(noise(high=65536, dtype=np.uint16)), GREY.astype(int) * 257),
    ],
    ids=["RGB", "RGBA", "L", "LA", "I;16"],
)
def test_a_kept_mode_keeps_its_pixels_bit_for_bit(image, expected):
    out = filled(image)
    assert out.mode == image.mode
    before, after = np.asarray(image), np.asarray(out)
    assert after.dtype == before.dtype
    assert np.array_equal(after[~HOLE], before[~HOLE])
    assert np.array_equal(after[HOLE], expected[HOLE])


def palette(transparent):
    image = Image.fromarray(noise(3)).quantize(16)
    if transparent:
        stream = io.BytesIO()
        image.save(stream, "png", transparency=3)
        image = Image.open(stream)
        image.load()
    return image


@pytest.mark.parametrize(
    ("image", "mode"),
    [
        (palette(False), "RGB"),
        (palette(True), "RGBA"),
        (Image.fromarray(noise() > 128), "L"),
        (Image.fromarray(noise(4), "CMYK"), "RGB"),
        (Image.fromarray(noise(3)).convert("YCbCr"), "RGB"),
    ],
    ids=["P", "P with transparency", "1", "CMYK", "YCbCr"],
)
def test_other_modes_become_the_nearest_one_that_can_be_written(image, mode):
    out = filled(image)
    assert out.mode == mode
    assert np.array_equal(np.asarray(out)[~HOLE], np.asarray(image.convert(mode))[~HOLE])


def test_the_network_sees_transparency_over_white_and_16_bits_as_8():
    image = Image.fromarray(np.full((6, 8, 4), (10, 20, 30, 0), np.uint8))
    assert (EditablePicture(image).rgb == 255).all()
    image = Image.fromarray(np.full((6, 8), 257 * 77, np.uint16))
    assert (EditablePicture(image).rgb == 77).all()


def test_transparent_pixels_can_be_the_hole():
    pixels = noise(4)
    pixels[..., 3] = 255
    pixels[HOLE, 3] = 127
    assert np.array_equal(EditablePicture(Image.fromarray(pixels)).transparent(), HOLE)
    grey = Image.fromarray(pixels).convert("LA")
    assert np.array_equal(EditablePicture(grey).transparent(), HOLE)
    for image in (Image.fromarray(noise(3)), Image.fromarray(noise()), Image.fromarray(noise(dtype=np.uint16))):
        with pytest.raises(DecodeError, match="no transparent pixels"):
            EditablePicture(image).transparent()


def test_a_colour_profile_stays_with_its_colour_space():
    for mode, kept in (("RGB", True), ("L", True), ("P", True), ("CMYK", False)):
        image = Image.new(mode, (8, 6))
        image.info["icc_profile"] = b"profile"
        assert EditablePicture(image).profile == (b"profile" if kept else None)


def test_floating_point_pixels_are_refused():
    with pytest.raises(DecodeError, match="no defined range"):
        EditablePicture(Image.new("F", (8, 6)))


def test_masks_of_another_size_are_refused_unless_scaling_is_allowed():
    assert as_marked(HOLE, (6, 8)) is HOLE
    with pytest.raises(DecodeError, match=r"the mask is 8×6 and the picture 16×12: give one of its size$"):
        as_marked(HOLE, (12, 16))
    with pytest.raises(DecodeError, match=r"16×12: scale it$"):
        as_marked(HOLE, (12, 16), remedy="scale it")
    expected = HOLE.repeat(2, 0).repeat(2, 1)
    assert np.array_equal(as_marked(HOLE, (12, 16), resize=True), expected)


@pytest.mark.parametrize(("value", "part"), [(False, "marks no pixel"), (True, "marks every pixel")])
def test_masks_that_leave_nothing_to_do_or_nothing_known_are_refused(value, part):
    with pytest.raises(DecodeError, match=part):
        as_marked(np.full((6, 8), value), (6, 8))
