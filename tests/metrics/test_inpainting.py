"""Measuring completions: which images and masks, how processes share them, and the simplest completions."""

import numpy as np
import pytest

from attnorm.data.dataset import ImageDataset
from attnorm.data.masks import Masks
from attnorm.metrics import inpainting
from attnorm.metrics.fills import mean_colour, telea
from attnorm.metrics.inpainting import HOLES, Truths, measure_fills


@pytest.fixture
def truths():
    """Eleven of twenty images of 20 pixels a side, 16 in their middle."""
    images = np.random.default_rng(0).integers(0, 256, (20, 20, 20, 3), np.uint8)
    dataset = ImageDataset(images, np.zeros(20, np.int64), ("all",))
    return Truths(dataset, np.arange(11) + 5, 16)


def black_and_white(images, holes):
    return {"black": np.zeros_like(images), "white": np.full_like(images, 255)}


def test_the_middle_of_each_image_is_measured(truths):
    assert np.array_equal(truths.read(slice(2)), truths.dataset.images[5:7, 2:18, 2:18])
    few = truths.spread_over(3)
    assert few.items.tolist() == [5, 8, 12]
    assert truths.spread_over(11) is truths is truths.spread_over(50)


@pytest.mark.parametrize("kind", HOLES)
def test_figures_by_hand(truths, kind):
    found = measure_fills(truths, HOLES[kind], black_and_white, seed=3)
    for index in range(11):
        truth = truths.dataset.images[5 + index, 2:18, 2:18].astype(float)
        hole = Masks(HOLES[kind], (16, 16))(3, index)
        assert hole.sum() == 64 or kind == "strokes"
        assert found["black"].composite.mae[index] == pytest.approx(truth[hole].sum() / (3 * 256 * 255))
        assert found["white"].composite.hole_mae[index] == pytest.approx((255 - truth[hole]).mean() / 255)
        assert found["black"].l1[index] == pytest.approx(truth.mean() / 255)


@pytest.mark.parametrize("count", [1, 2, 3, 11, 12])
def test_processes_share_the_images_and_the_holes_stay_theirs(truths, count, monkeypatch):
    whole = measure_fills(truths, HOLES["random"], black_and_white)
    parts = []
    monkeypatch.setattr(inpainting, "gather_rows", lambda rows: rows)
    for rank in range(count):
        monkeypatch.setattr(inpainting, "rank_and_count", lambda rank=rank: (rank, count))
        parts.append(measure_fills(truths, HOLES["random"], black_and_white)["white"].composite.psnr)
    if count > 11:  # more processes than images: each has measured all, and none waits for another
        assert all(np.array_equal(part, whole["white"].composite.psnr) for part in parts)
    else:
        assert all(len(part) for part in parts)
        assert np.array_equal(np.concatenate(parts), whole["white"].composite.psnr)


def test_progress_is_told(truths):
    told = []
    measure_fills(truths, HOLES["centre"], black_and_white, progress=lambda *one: told.append(one))
    assert told == [("images", 8, 11), ("images", 11, 11)]


@pytest.fixture
def holes():
    found = np.zeros((2, 8, 8), bool)
    found[0, 2:5, 3:6], found[1, :4] = True, True
    return found


def test_the_mean_colour_is_that_of_the_known_pixels(holes):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    filled = mean_colour(images, holes)
    for image, hole, found in zip(images, holes, filled, strict=True):
        assert np.array_equal(found[~hole], image[~hole])
        assert (found[hole] == image[~hole].mean(0).round()).all()


def test_telea_goes_on_with_what_is_around_the_hole(holes):
    pytest.importorskip("cv2")
    images = np.full((2, 8, 8, 3), 90, np.uint8)
    images[holes] = 255
    filled = telea(images, holes)
    assert (filled[~holes] == 90).all()
    assert (abs(filled.astype(int) - 90) <= 3).all()
