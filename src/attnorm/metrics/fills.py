"""Completions without a network, which a trained one has to beat."""

from __future__ import annotations

import numpy as np

TELEA_RADIUS = 5  # pixels around one that its colour is estimated from


def mean_colour(pictures: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Images (b, h, w, 3) uint8 with the mean of their known pixels where `holes` (b, h, w) bool is true."""
    known = ~holes[..., None]
    mean = np.where(known, pictures, 0).sum((1, 2), dtype=np.float64) / known.sum((1, 2))
    return np.where(known, pictures, mean.round().astype(np.uint8)[:, None, None])


def has_opencv() -> bool:
    """Whether `telea` can run."""
    try:
        import cv2  # noqa: F401
    except ImportError:
        return False
    return True


def telea(pictures: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Images (b, h, w, 3) uint8 completed in `holes` (b, h, w) from the edge inwards (Telea 2004), by OpenCV."""
    import cv2

    masks = holes.astype(np.uint8)
    return np.stack(
        [
            cv2.inpaint(np.ascontiguousarray(picture), mask, TELEA_RADIUS, cv2.INPAINT_TELEA)
            for picture, mask in zip(pictures, masks, strict=True)
        ]
    )
