"""The built-in sets."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from attnorm.data.builtin import TILE, load_builtin, validation_part


def test_digits_are_scikit_learns_enlarged():
    dataset, real = load_builtin("digits", 32), load_digits()
    assert dataset.images.shape == (1797, 32, 32, 3) and dataset.class_names == tuple("0123456789")
    np.testing.assert_array_equal(dataset.labels, real.target)
    assert (dataset.images == dataset.images[..., :1]).all()
    grey = Image.fromarray(np.rint(real.images[5] / 16 * 255).astype(np.uint8))
    enlarged = np.asarray(grey.resize((32, 32), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(dataset.images[5, ..., 0], enlarged)


@pytest.fixture(scope="module")
def photos():
    """At the tiles' own size, at which they are not resampled."""
    return load_builtin("photos", TILE)


def test_photos_are_tiles_of_two_photographs(photos):
    assert photos.images.shape == (988, TILE, TILE, 3) and photos.class_names == ("china", "flower")
    assert np.bincount(photos.labels).tolist() == [494, 494]
    assert set(photos.labels[:8].tolist()) == set(photos.labels[-8:].tolist()) == {0, 1}  # mixed


def test_the_right_quarter_of_each_photograph_validates(photos):
    held_out = validation_part("photos")
    assert held_out.tolist() == list(range(874, 988)) and validation_part("digits") is None
    for label, photograph in enumerate(load_sample_images().images):
        left = {column.tobytes() for column in photograph[:TILE, :480].swapaxes(0, 1)}
        first_row = photograph[0].tobytes()
        tops = [i for i in np.flatnonzero(photos.labels == label) if photos.images[i, 0].tobytes() in first_row]
        assert tops
        for index in tops:
            inside = [column.tobytes() in left for column in photos.images[index].swapaxes(0, 1)]
            assert all(inside) != (index in held_out) and any(inside) != (index in held_out)
