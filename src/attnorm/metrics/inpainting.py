"""Measuring ways to complete images: each way completes the same images with the same masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from attnorm.data.dataset import ImageDataset
from attnorm.data.masks import MaskConfig, Masks
from attnorm.metrics.distributed import gather_rows, rank_and_count
from attnorm.metrics.features import Progress
from attnorm.metrics.reconstruction import PEAK, Reconstruction, Window, reconstruction

# The paper measures at 256 x 256 with masks of 128 x 128, as CA does: a quarter of the image. Strokes are ours.
QUARTER = 0.25
HOLES = {
    "centre": MaskConfig(kind="centre", fraction=(QUARTER, QUARTER)),
    "random": MaskConfig(kind="rectangle", fraction=(QUARTER, QUARTER), aspect=1.0),
    "strokes": MaskConfig(kind="lines", count=(2, 4), brush=(1 / 24, 1 / 10)),
}
BATCH = 8

# Images (b, h, w, 3) uint8 and masks (b, h, w) bool -> by name, the images that each way makes of them.
# Their known pixels count in `Filled.l1` only.
Fill = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Truths:
    """The images to measure on: some of a set, and of each the square of `size` pixels in its middle."""

    dataset: ImageDataset
    items: np.ndarray
    size: int

    @property
    def count(self) -> int:
        return len(self.items)

    def spread_over(self, most: int) -> Truths:
        """At most so many of them, evenly spread."""
        if self.count <= most:
            return self
        return replace(self, items=self.items[np.arange(most) * self.count // most])

    def read(self, places: slice | np.ndarray) -> np.ndarray:
        """Some of them, (b, size, size, 3) uint8."""
        pictures, _ = self.dataset.batch(self.items[places])
        margin = (self.dataset.size - self.size) // 2
        return pictures[:, margin : margin + self.size, margin : margin + self.size]


def example_masks(count: int, size: int, seed: int) -> np.ndarray:
    """Masks (count, size, size) bool of each kind of `HOLES` in turn."""
    kinds = [Masks(masks, (size, size)) for masks in HOLES.values()]
    return np.stack([kinds[index % len(kinds)](seed, index) for index in range(count)])


class Filled(NamedTuple):
    """The results of one way, one number per image, float64.

    composite: with the known pixels put back. l1: mean absolute error of the image as it was made, known pixels
    included, as a share of 255: what training minimises.
    """

    composite: Reconstruction
    l1: np.ndarray


def composite(truth: np.ndarray, found: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """`found` where `holes` (b, h, w) is true, `truth` elsewhere; images (b, h, w, 3)."""
    return np.where(holes[..., None], found, truth)


def measure_fills(
    truths: Truths,
    holes: MaskConfig,
    fill: Fill,
    *,
    seed: int = 0,
    window: Window = "gaussian",
    progress: Progress | None = None,
) -> dict[str, Filled]:
    """Measures ways to complete images; processes of a group share the work and all get all results.

    Args:
        seed: of the masks; mask k is that of image k, whatever the batch or the process.
        progress: called with what is processed, how much is done, and how much there is.
    """
    rank, count = rank_and_count()
    masks = Masks(holes, (truths.size, truths.size))
    # Fewer images than processes are measured by each: a process without any would keep the others waiting.
    is_shared = 1 < count <= truths.count
    share = np.array_split(np.arange(truths.count), count if is_shared else 1)[rank if is_shared else 0]
    found: dict[str, list[np.ndarray]] = {}
    for first in range(0, len(share), BATCH):
        places = share[first : first + BATCH]
        truth = truths.read(places)
        missing = masks.batch(seed, places.tolist())
        for name, made in fill(truth, missing).items():
            figures = reconstruction(truth, composite(truth, made, missing), missing, window)
            l1 = np.abs(made.astype(np.float64) - truth).mean((1, 2, 3)) / PEAK
            found.setdefault(name, []).append(np.stack([*figures, l1], axis=1))
        if progress is not None:
            progress("images", int(first + len(places)), len(share))
    measured = {}
    for name, parts in found.items():
        rows = np.concatenate(parts)
        if is_shared:
            rows = gather_rows(torch.from_numpy(rows)).numpy()
        *columns, l1 = rows.T
        measured[name] = Filled(Reconstruction(*columns), l1)
    return measured
