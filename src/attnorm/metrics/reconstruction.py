"""PSNR, SSIM and mean absolute error of completed images against the truth, for each image.

The protocol: images are 8-bit RGB composites, with the true pixels outside the mask; PSNR and SSIM are over the whole
image, absolute errors over the whole image and over the mask.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from attnorm.config import Frozen
from attnorm.metrics.base import Number, NumberOrInfinity

PEAK = 255.0
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2  # of Wang et al. 2004

Window = Literal["gaussian", "uniform"]
GAUSSIAN_SIZE, GAUSSIAN_SIGMA, UNIFORM_SIZE = 11, 1.5, 7


class Spread(Frozen):
    """Mean and standard deviation (divisor: n) over images; equal images have an infinite mean PSNR."""

    mean: NumberOrInfinity
    deviation: Number


class Reconstruction(NamedTuple):
    """One number per image, each (b,) float64.

    psnr: in dB, 10 log10(255^2 / mean squared error) over all pixels and channels; infinite for equal images.
    ssim: structural similarity, at most 1, the mean of the three channels'.
    mae: mean absolute error over the whole image, as a share of 255: in [0, 1], as the paper's Table 3 gives it.
    hole_mae: the same over the missing pixels.
    """

    psnr: np.ndarray
    ssim: np.ndarray
    mae: np.ndarray
    hole_mae: np.ndarray

    def spread(self) -> dict[str, Spread]:
        """Mean and deviation of each field, by its name."""
        with np.errstate(invalid="ignore"):  # infinite PSNR has no deviation
            return {
                name: Spread(mean=float(values.mean()), deviation=float(values.std()))
                for name, values in self._asdict().items()
            }


def reconstruction(
    truth: np.ndarray, found: np.ndarray, mask: np.ndarray, window: Window = "gaussian"
) -> Reconstruction:
    """Compares completed images with the truth.

    Args:
        truth, found: (b, h, w, 3) uint8.
        mask: (b, h, w), non-zero where pixels were missing.
        window: of SSIM, see `structural_similarity`.

    Raises:
        ValueError: the shapes or types differ from these, a mask is empty, or a image is smaller than the window.
    """
    if truth.dtype != np.uint8 or found.dtype != np.uint8 or truth.ndim != 4 or truth.shape[3] != 3:
        raise ValueError(f"images must be (b, h, w, 3) uint8, got {truth.shape} {truth.dtype} and {found.dtype}")
    if found.shape != truth.shape or mask.shape != truth.shape[:3]:
        raise ValueError(f"shapes differ: truth {truth.shape}, found {found.shape}, mask {mask.shape}")
    hole = mask != 0
    missing = hole.sum((1, 2))
    if not missing.all():
        raise ValueError(f"the mask of image {int(np.argmin(missing))} marks no pixel")
    difference = found.astype(np.float64) - truth
    error = np.abs(difference).mean(3) / PEAK
    squared = np.square(difference).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(PEAK**2 / squared)
    return Reconstruction(
        psnr,
        structural_similarity(truth, found, window),
        error.mean((1, 2)),
        np.where(hole, error, 0).sum((1, 2)) / missing,
    )


def structural_similarity(truth: np.ndarray, found: np.ndarray, window: Window = "gaussian") -> np.ndarray:
    """SSIM (Wang et al. 2004) of 8-bit images (b, h, w, c): (b,) float64, the mean over channels and window places.

    Args:
        window: "gaussian", the original: 11 x 11, sigma 1.5; or "uniform": 7 x 7 with sample covariances, which is what
            scikit-image does unless told otherwise. Windows lie wholly inside the image.

    Raises:
        ValueError: a image is smaller than the window.
    """
    kernel = _gaussian() if window == "gaussian" else torch.full((UNIFORM_SIZE,), 1 / UNIFORM_SIZE, dtype=torch.float64)
    size = len(kernel)
    if min(truth.shape[1:3]) < size:
        raise ValueError(f"SSIM needs images of at least {size} x {size} pixels, got {truth.shape[1:3]}")
    x, y = (torch.from_numpy(np.ascontiguousarray(t)).permute(0, 3, 1, 2).double() for t in (truth, found))
    mean_x, mean_y = _filtered(x, kernel), _filtered(y, kernel)
    correction = size**2 / (size**2 - 1) if window == "uniform" else 1.0
    var_x = correction * (_filtered(x * x, kernel) - mean_x**2)
    var_y = correction * (_filtered(y * y, kernel) - mean_y**2)
    covariance = correction * (_filtered(x * y, kernel) - mean_x * mean_y)
    similar = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    values: np.ndarray = (similar / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))).mean((1, 2, 3)).numpy()
    return values


def _gaussian() -> Tensor:
    place = torch.arange(GAUSSIAN_SIZE, dtype=torch.float64) - GAUSSIAN_SIZE // 2
    weights = torch.exp(-(place**2) / (2 * GAUSSIAN_SIGMA**2))
    return weights / weights.sum()


def _filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """x (b, c, h, w) averaged by the kernel along rows and columns, where it lies inside."""
    planes = x.flatten(0, 1).unsqueeze(1)
    planes = F.conv2d(F.conv2d(planes, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return planes.squeeze(1).unflatten(0, x.shape[:2])
