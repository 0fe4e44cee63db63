"""PSNR, SSIM and absolute errors against scikit-image and against values by hand."""

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from attnorm.metrics.reconstruction import reconstruction


def images(batch=3, height=40, width=33, noise=25.0, seed=0):
    """Smooth images, noisy copies inside a hole of their own, and the holes."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / height
    phase = random.uniform(0, 6, (batch, 1, 1, 3))
    truth = 127 + 100 * np.sin(phase + 5 * rows[None, :, :, None] + 3 * columns[None, :, :, None])
    mask = np.zeros((batch, height, width), np.uint8)
    for index in range(batch):
        mask[index, 5 + index : 25, 8 : 20 + 2 * index] = 1
    noisy = truth + mask[..., None] * random.normal(0, noise, truth.shape)
    return truth.round().astype(np.uint8), noisy.clip(0, 255).round().astype(np.uint8), mask


OPTIONS = {
    "gaussian": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    "uniform": {"win_size": 7},
}


@pytest.mark.promise
@pytest.mark.parametrize("window", OPTIONS)
@pytest.mark.parametrize("noise", [3.0, 90.0])
def test_it_agrees_with_scikit_image(window, noise):
    truth, found, mask = images(noise=noise)
    figures = reconstruction(truth, found, mask, window)
    for index in range(3):
        options = {"data_range": 255, "channel_axis": 2} | OPTIONS[window]
        expected = structural_similarity(truth[index], found[index], **options)
        assert figures.ssim[index] == pytest.approx(expected, abs=1e-10)
        expected = peak_signal_noise_ratio(truth[index], found[index], data_range=255)
        assert figures.psnr[index] == pytest.approx(expected, abs=1e-9)
    assert np.ptp(figures.ssim) > 1e-3


def test_errors_by_hand():
    truth = np.zeros((1, 12, 12, 3), np.uint8)
    found, mask = truth.copy(), np.zeros((1, 12, 12), bool)
    mask[0, :6, :6] = True
    found[0, :6, :6, 0] = 51  # a fifth of 255 in one channel of three
    figures = reconstruction(truth, found, mask)
    assert figures.hole_mae[0] == pytest.approx(0.2 / 3)
    assert figures.mae[0] == pytest.approx(0.2 / 3 / 4)
    assert figures.psnr[0] == pytest.approx(10 * math.log10(1 / (0.2**2 / 3 / 4)))


def test_equal_images_are_perfect():
    truth, _, mask = images()
    figures = reconstruction(truth, truth, mask)
    assert figures.psnr.tolist() == [math.inf] * 3
    assert figures.ssim.tolist() == pytest.approx([1.0] * 3)
    assert figures.mae.tolist() == figures.hole_mae.tolist() == [0.0] * 3


def test_the_spread_is_over_images():
    found = reconstruction(*images(5))
    for name, spread in found.spread().items():
        values = getattr(found, name)
        assert spread.mean == pytest.approx(values.mean())
        assert spread.deviation == pytest.approx(math.sqrt(((values - values.mean()) ** 2).mean()))
        assert spread.deviation > 0


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda t, f, m: (t.astype(float), f, m), r"must be \(b, h, w, 3\) uint8"),
        (lambda t, f, m: (t[0], f, m), r"must be \(b, h, w, 3\) uint8"),
        (lambda t, f, m: (t, f[:, 1:], m), "shapes differ"),
        (lambda t, f, m: (t, f, m[:2]), "shapes differ"),
        (lambda t, f, m: (t, f, m * np.array([1, 0, 1])[:, None, None]), "the mask of image 1 marks no pixel"),
        (lambda t, f, m: (t[:, :10], f[:, :10], m[:, :10]), "at least 11 x 11"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, part):
    with pytest.raises(ValueError, match=part):
        reconstruction(*change(*images()))
