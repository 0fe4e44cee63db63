"""One encoded image to one square RGB array."""

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm.data.decode import DecodeError, decode_mask, open_upright, read_square, to_uint8
from tests.data.conftest import encoded, noise


@pytest.mark.parametrize("width, height, box", [(50, 31, (9, 0, 40, 31)), (31, 50, (0, 9, 31, 40))])
def test_centre_crop_and_lanczos_match_pillow(width, height, box):
    image = Image.fromarray(noise(width, height))
    expected = image.crop(box).resize((16, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(read_square(encoded(image), 16), np.asarray(expected))


def test_transparency_is_laid_over_white():
    pixels = noise(4, 4, 4)
    pixels[0, 0], pixels[0, 1] = (10, 20, 30, 0), (10, 20, 30, 255)
    flat = read_square(encoded(Image.fromarray(pixels)), 4)
    alpha = pixels[..., 3:].astype(float) / 255
    np.testing.assert_allclose(flat, pixels[..., :3] * alpha + 255 * (1 - alpha), atol=1.01)
    assert flat[0, 0].tolist() == [255, 255, 255] and flat[0, 1].tolist() == [10, 20, 30]


@pytest.mark.promise
def test_unusable_images_have_a_reason(tmp_path):
    without_range = Image.fromarray(np.full((4, 4), 70000, dtype=np.int32))
    for content, reason in (
        (b"", "empty file"),
        (b"words", "not an image"),
        (encoded(Image.fromarray(noise(40, 40)))[:900], "truncated|broken"),
        (encoded(Image.new("F", (4, 4)), "tiff"), "no defined range"),
        (encoded(without_range, "tiff"), "no defined range"),
        (tmp_path / "a.png", "No such file"),
    ):
        with pytest.raises(DecodeError, match=reason):
            read_square(content, 8)


def test_a_mask_marks_its_light_pixels():
    grey = Image.fromarray(np.array([[0, 127], [128, 255]], dtype=np.uint8))
    np.testing.assert_array_equal(decode_mask(encoded(grey), (2, 2)), [[False, False], [True, True]])
    np.testing.assert_array_equal(decode_mask(encoded(grey.convert("1")), (2, 2))[1], [True, True])
    sixteen = Image.fromarray(np.array([[0, 257 * 127], [257 * 128, 65535]], dtype=np.uint16))
    np.testing.assert_array_equal(decode_mask(encoded(sixteen), (2, 2)), [[False, False], [True, True]])


def test_a_mask_on_a_layer_of_its_own_marks_what_is_painted_whatever_the_colour():
    layer = np.zeros((2, 2, 4), dtype=np.uint8)
    layer[0] = [(0, 0, 0, 255), (200, 0, 0, 128)]
    layer[1] = [(255, 255, 255, 127), (255, 255, 255, 0)]
    np.testing.assert_array_equal(decode_mask(encoded(Image.fromarray(layer)), (2, 2)), [[True, True], [False, False]])
    opaque = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("RGBA")
    np.testing.assert_array_equal(decode_mask(encoded(opaque), (1, 2)), [[False, True]])
    assert not decode_mask(encoded(Image.new("RGBA", (2, 2), (255, 255, 255, 0))), (2, 2)).any()


@pytest.mark.promise
def test_a_mask_whose_values_mark_nothing_says_what_they_are():
    two = np.array([[0, 1]], dtype=np.uint8)
    palette = Image.fromarray(two)
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    for mask, problem in (
        (Image.fromarray(two), r"0 to 1: make the missing pixels light \(128 or more of 255"),
        (Image.fromarray(two.astype(np.uint16) * 255), r"0 to 255: .* light \(32896 or more of 65535"),
        (Image.fromarray(np.stack([two * 255, two, two], axis=2)), "0 to 77"),
        (palette, "0 to 60"),
    ):
        with pytest.raises(DecodeError, match=f"it marks no pixel, its values are {problem}"):
            decode_mask(encoded(mask), (1, 2))
    three = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8))
    three.putpalette([0, 0, 0, 200, 0, 0, 0, 255, 0])  # the last one is light
    with pytest.raises(DecodeError, match="a palette of 3 colours: make"):
        decode_mask(encoded(three), (1, 3))
    three.putpalette([0, 0, 0, 128, 128, 128, 255, 255, 255])
    np.testing.assert_array_equal(decode_mask(encoded(three), (1, 3)), [[False, True, True]])


def test_a_mask_is_cropped_and_scaled_without_mixing():
    mask = np.zeros((8, 12), dtype=np.uint8)
    mask[2:6, 4:8] = 255
    expected = np.zeros((4, 4), dtype=bool)
    expected[1:3, 1:3] = True
    np.testing.assert_array_equal(decode_mask(encoded(Image.fromarray(mask)), (4, 4)), expected)


def test_an_upright_image_keeps_its_mode():
    pixels = noise(6, 4, 4)
    exif = Image.Exif()
    exif[0x0112] = 8  # rotate by 90° anticlockwise to view
    image = open_upright(encoded(Image.fromarray(pixels), exif=exif))
    assert image.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(image), np.rot90(pixels))
    assert 0x0112 not in image.getexif()


@pytest.mark.promise
def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch):
    content = encoded(Image.new("L", (200, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)
    with pytest.raises(DecodeError, match="decompression bomb"):
        open_upright(content)


@pytest.mark.parametrize("shift", [-0.49, 0, 0.49])  # grey levels
def test_to_uint8_rounds_to_nearest_and_clamps(shift):
    levels = torch.arange(-9, 265).double()
    images = ((levels + shift) / 127.5 - 1).float().view(1, 1, 2, 137).expand(1, 3, 2, 137)
    assert to_uint8(images)[0, ..., 0].ravel().tolist() == levels.clamp(0, 255).int().tolist()
    assert to_uint8(images.bfloat16()).shape == (1, 2, 137, 3)
