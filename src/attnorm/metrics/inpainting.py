"""Metrics of completed images: PSNR, SSIM and mean absolute error, for each image.

Images are 8-bit RGB composites with the original pixels outside the mask. PSNR and SSIM are over the whole image,
absolute errors over the whole image and over the mask. All methods get the same masks.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from attnorm.data.masks import MaskConfig, Masks
from attnorm.metrics.distributed import share_work
from attnorm.metrics.image_sets import RealImages
from attnorm.metrics.records import MetricValue

# The paper uses masks of 128 x 128 at 256 x 256, as CA does: a quarter of the image. Strokes are ours.
MASKS = {
    "centre": MaskConfig(kind="centre", fraction=(0.25, 0.25)),
    "random": MaskConfig(kind="rectangle", fraction=(0.25, 0.25), aspect=1.0),
    "strokes": MaskConfig(kind="lines", count=(2, 4), brush=(1 / 24, 1 / 10)),
}
BATCH = 8
TELEA_RADIUS = 5  # neighbourhood for the colour of a pixel, in pixels

PEAK = 255.0
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2  # of Wang et al. 2004
WINDOW, SIGMA = 11, 1.5  # of SSIM

# Images (b, h, w, 3) uint8 and masks (b, h, w) bool -> by name, the completed images.
Complete = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


class Reconstruction(NamedTuple):
    """One number per image, each (b,) float64, of composites except for l1.

    psnr: in dB, 10 log10(255^2 / mean squared error) over all pixels and channels; infinite for equal images.
    ssim: structural similarity, at most 1, the mean of the three channels'.
    mae: mean absolute error over the whole image, as a share of 255: in [0, 1], as the paper's Table 3 gives it.
    mask_mae: mean absolute error over the missing pixels, in grey levels from 0 to 255.
    l1: as `mae`, over the whole image as it was made, known pixels included: the training loss.
    """

    psnr: np.ndarray
    ssim: np.ndarray
    mae: np.ndarray
    mask_mae: np.ndarray
    l1: np.ndarray

    def value(self, items: np.ndarray) -> MetricValue:
        """Means and standard deviations (divisor: n) over the images, whose indices in the data are `items`."""
        values: dict[str, float] = {}
        with np.errstate(invalid="ignore"):  # an infinite PSNR has no deviation
            for name, each in self._asdict().items():
                values |= {name: float(each.mean()), f"{name}_deviation": float(each.std())}
        per_image = {name: each.tolist() for name, each in self._asdict().items()}
        return MetricValue(values, "each", {"items": items.tolist(), "per_image": per_image})


def measure_completions(
    images: RealImages, mask_config: MaskConfig, complete: Complete, seed: int = 0, show_progress: bool = False
) -> dict[str, Reconstruction]:
    """Measures ways to complete images; processes of a group share the work and all get all results.

    Args:
        seed: of the masks; mask k is that of image k, whatever the batch or the process.
        show_progress: whether to draw a bar on a terminal.
    """
    masks = Masks(mask_config, (images.size, images.size))

    def measure(first: int) -> dict[str, np.ndarray]:
        last = min(first + BATCH, images.count)
        truth, missing = images.read(first, last), masks.batch(seed, range(first, last))
        ways = complete(truth, missing).items()
        return {name: np.stack(reconstruction(truth, each, missing), axis=1) for name, each in ways}

    rows = list(share_work(measure, range(0, images.count, BATCH), "completing", show_progress))
    return {name: Reconstruction(*np.concatenate([each[name] for each in rows]).T) for name in rows[0]}


def reconstruction(truth: np.ndarray, completed: np.ndarray, mask: np.ndarray) -> Reconstruction:
    """Compares completed images with the truth, both (b, h, w, 3) uint8, at masks (b, h, w) bool that are not empty."""
    composites = composite(truth, completed, mask)
    difference = composites.astype(np.float64) - truth
    error = np.abs(difference).mean(3) / PEAK
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(PEAK**2 / np.square(difference).mean((1, 2, 3)))
    return Reconstruction(
        psnr,
        structural_similarity(truth, composites),
        error.mean((1, 2)),
        PEAK * np.where(mask, error, 0).sum((1, 2)) / mask.sum((1, 2)),
        np.abs(completed.astype(np.float64) - truth).mean((1, 2, 3)) / PEAK,
    )


def composite(truth: np.ndarray, completed: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`completed` where `mask` (b, h, w) is true, `truth` elsewhere; images (b, h, w, 3)."""
    return np.where(mask[..., None], completed, truth)


def structural_similarity(truth: np.ndarray, other: np.ndarray) -> np.ndarray:
    """SSIM (Wang et al. 2004) of 8-bit images (b, h, w, c): (b,) float64, the mean over channels and window places.

    The window is the original, Gaussian one of 11 x 11 pixels, wholly inside the image.
    """
    offset = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    kernel = torch.exp(-(offset**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()

    def filtered(planes: Tensor) -> Tensor:  # (b, c, h, w), averaged along rows and columns
        rows = F.conv2d(planes.flatten(0, 1).unsqueeze(1), kernel.view(1, 1, -1, 1))
        return F.conv2d(rows, kernel.view(1, 1, 1, -1)).squeeze(1).unflatten(0, planes.shape[:2])

    x, y = (torch.from_numpy(np.ascontiguousarray(t)).permute(0, 3, 1, 2).double() for t in (truth, other))
    mean_x, mean_y = filtered(x), filtered(y)
    var_x, var_y = filtered(x * x) - mean_x**2, filtered(y * y) - mean_y**2
    covariance = filtered(x * y) - mean_x * mean_y
    similar = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    values: np.ndarray = (similar / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))).mean((1, 2, 3)).numpy()
    return values


def mean_colour(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Baseline: images (b, h, w, 3) uint8 with the mean of their known pixels where `masks` (b, h, w) is true."""
    known = ~masks[..., None]
    mean = np.where(known, images, 0).sum((1, 2), dtype=np.float64) / known.sum((1, 2))
    return np.where(known, images, mean.round().astype(np.uint8)[:, None, None])


def telea(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Baseline: images (b, h, w, 3) uint8 completed from the edge of `masks` inwards (Telea 2004), by OpenCV."""
    import cv2

    pairs = zip(map(np.ascontiguousarray, images), masks.astype(np.uint8), strict=True)
    return np.stack([cv2.inpaint(image, mask, TELEA_RADIUS, cv2.INPAINT_TELEA) for image, mask in pairs])
