"""Completed images: PSNR, SSIM and errors against scikit-image and by hand, how processes share, and the baselines."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from attnorm.data.dataset import ImageDataset
from attnorm.data.masks import Masks
from attnorm.metrics import distributed, inpainting
from attnorm.metrics.image_sets import RealImages
from attnorm.metrics.inpainting import MASKS, mean_colour, measure_completions, reconstruction, telea


def images(batch=3, height=40, width=33, noise=25.0):
    """Smooth images, copies that are noisy inside a mask of their own, and the masks."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width] / height
    phase = random.uniform(0, 6, (batch, 1, 1, 3))
    truth = 127 + 100 * np.sin(phase + 5 * rows[None, :, :, None] + 3 * columns[None, :, :, None])
    mask = np.zeros((batch, height, width), bool)
    for index in range(batch):
        mask[index, 5 + index : 25, 8 : 20 + 2 * index] = True
    noisy = truth + mask[..., None] * random.normal(0, noise, truth.shape)
    return truth.round().astype(np.uint8), noisy.clip(0, 255).round().astype(np.uint8), mask


@pytest.mark.promise
@pytest.mark.parametrize("noise", [3.0, 90.0])
def test_it_agrees_with_scikit_image(noise):
    truth, completed, mask = images(noise=noise)
    found = reconstruction(truth, completed, mask)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}  # as Wang et al. 2004
    for index in range(3):
        expected = structural_similarity(truth[index], completed[index], data_range=255, channel_axis=2, **options)
        assert found.ssim[index] == pytest.approx(expected, abs=1e-10)
        expected = peak_signal_noise_ratio(truth[index], completed[index], data_range=255)
        assert found.psnr[index] == pytest.approx(expected, abs=1e-9)
    assert np.ptp(found.ssim) > 1e-3


def test_errors_by_hand_are_those_of_the_composite_except_for_l1():
    truth = np.zeros((1, 12, 12, 3), np.uint8)
    mask = np.zeros((1, 12, 12), bool)
    mask[0, :6, :6] = True
    completed = truth.copy()
    completed[..., 0] = 51  # a fifth of 255 in one channel of three, known pixels included
    found = reconstruction(truth, completed, mask)
    assert (found.mask_mae[0], found.mae[0], found.l1[0]) == pytest.approx((51 / 3, 0.2 / 3 / 4, 0.2 / 3))
    assert found.psnr[0] == pytest.approx(10 * math.log10(1 / (0.2**2 / 3 / 4)))
    perfect = reconstruction(truth, truth, mask)
    assert [values[0] for values in perfect] == [math.inf, 1, 0, 0, 0]
    value = reconstruction(*images(5)).value(np.arange(5) * 2)
    psnr = value.details["per_image"]["psnr"]
    assert (value.values["psnr"], value.values["psnr_deviation"]) == (np.mean(psnr), np.std(psnr))
    assert value.details["items"] == [0, 2, 4, 6, 8]


@pytest.fixture
def validation():
    """Eleven of twenty images of 20 pixels a side, 16 in their middle."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 20, 3), np.uint8)
    return RealImages(ImageDataset(pixels, np.zeros(20, np.int64), ("all",)), np.arange(11) + 5, 16)


def black_and_white(images, masks):
    return {"black": np.zeros_like(images), "white": np.full_like(images, 255)}


@pytest.mark.parametrize("kind", MASKS)
def test_each_image_has_the_mask_of_its_place(validation, kind):
    assert validation.spread_over(3).items.tolist() == [5, 8, 12]
    found = measure_completions(validation, MASKS[kind], black_and_white, seed=3)
    for index in range(11):
        truth = validation.dataset.images[5 + index, 2:18, 2:18].astype(float)
        mask = Masks(MASKS[kind], (16, 16))(3, index)
        assert mask.sum() == 64 or kind == "strokes"
        assert found["black"].mae[index] == pytest.approx(truth[mask].sum() / (3 * 256 * 255))
        assert found["white"].mask_mae[index] == pytest.approx((255 - truth[mask]).mean())
        assert found["black"].l1[index] == pytest.approx(truth.mean() / 255)


@pytest.mark.promise
@pytest.mark.parametrize("count", [2, 3, 12])
def test_processes_share_the_images_and_each_keeps_its_mask(validation, count, monkeypatch):
    """Threads play the processes; some have no share in the last turn."""
    monkeypatch.setattr(inpainting, "BATCH", 2)
    whole = measure_completions(validation, MASKS["random"], black_and_white)["white"].psnr
    here, barrier, parts, seen = threading.local(), threading.Barrier(count), [None] * count, []

    def gather(part):
        parts[here.rank] = part
        barrier.wait()
        every = list(parts)
        barrier.wait()
        return every

    def measure(rank):
        here.rank = rank
        return measure_completions(validation, MASKS["random"], watched)["white"].psnr

    def watched(images, masks):
        seen.append(len(images))
        return black_and_white(images, masks)

    monkeypatch.setattr(distributed, "rank_and_count", lambda: (here.rank, count))
    monkeypatch.setattr(distributed, "gather", gather)
    with ThreadPoolExecutor(count) as pool:
        assert all(np.array_equal(found, whole) for found in pool.map(measure, range(count)))
    assert sum(seen) == 11


def test_baselines_continue_what_is_known():
    mask = np.zeros((2, 8, 8), bool)
    mask[0, 2:5, 3:6], mask[1, :4] = True, True
    noise = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    for image, missing, completed in zip(noise, mask, mean_colour(noise, mask), strict=True):
        assert np.array_equal(completed[~missing], image[~missing])
        assert (completed[missing] == image[~missing].mean(0).round()).all()
    grey = np.where(mask[..., None], 255, np.full((2, 8, 8, 3), 90)).astype(np.uint8)
    completed = telea(grey, mask)
    assert (completed[~mask] == 90).all()
    assert (abs(completed.astype(int) - 90) <= 3).all()
