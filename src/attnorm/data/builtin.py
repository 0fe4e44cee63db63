"""The built-in sets, which come with scikit-learn: handwritten digits, and tiles of two photographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from attnorm.data.dataset import ImageDataset

_DARKEST_DIGIT = 16  # the largest value of scikit-learn's digits

_PHOTOGRAPH = 427, 640  # height and width
TILE = 128  # side of a tile in pixels of the photograph, whatever size it is scaled to
_STRIDE = 16  # from one tile to the next
_TRAINING_SHARE = 3 / 4  # of a photograph's width, from the left

Crop = tuple[int, int, int]  # photograph, top, left
_EXAMPLE_SIDE = 256
_EXAMPLES: list[Crop] = [(0, 90, 75), (1, 95, 180), (0, 160, 330), (1, 171, 230)]


@dataclass(frozen=True)
class Builtin:
    """A built-in set.

    class_names: one name per class.
    labels: returns the class of each image, (N,) int64.
    images: returns the images (N, size, size, 3) uint8 at a size.
    num_validation: how many images, the last ones, are a validation part of their own.
    """

    class_names: tuple[str, ...]
    labels: Callable[[], np.ndarray]
    images: Callable[[int], np.ndarray]
    num_validation: int = 0


def load_builtin(name: str, size: int) -> ImageDataset:
    """A built-in set in memory, images (N, size, size, 3) uint8."""
    builtin = BUILTIN[name]
    return ImageDataset(builtin.images(size), builtin.labels(), builtin.class_names)


def validation_part(name: str) -> np.ndarray | None:
    """The indices of a built-in set's own validation images; None if `name` is no such set or has no such part."""
    builtin = BUILTIN.get(name)
    if builtin is None or not builtin.num_validation:
        return None
    count = len(builtin.labels())
    return np.arange(count - builtin.num_validation, count)


def photographs() -> dict[str, np.ndarray]:
    """scikit-learn's two photographs by name, each (427, 640, 3) uint8."""
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    return {"china": china, "flower": flower}


def example_images(size: int, count: int) -> np.ndarray:
    """Crops of the photographs to try a model on, (count, size, size, 3) uint8, at most four."""
    return _cut(_EXAMPLES[:count], _EXAMPLE_SIDE, size)


def _digit_labels() -> np.ndarray:
    from sklearn.datasets import load_digits

    return load_digits().target.astype(np.int64)


def _digit_images(size: int) -> np.ndarray:
    from sklearn.datasets import load_digits

    grey = np.rint(load_digits().images * (255 / _DARKEST_DIGIT)).astype(np.uint8)
    resized = [Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC) for digit in grey]
    return np.repeat(np.stack(list(map(np.asarray, resized)))[..., None], 3, axis=3)


def _photo_labels() -> np.ndarray:
    training, validation = _tiles()
    return np.array([label for label, _, _ in training + validation], dtype=np.int64)


def _photo_images(size: int) -> np.ndarray:
    training, validation = _tiles()
    return _cut(training + validation, TILE, size)


@lru_cache(maxsize=1)
def _tiles() -> tuple[list[Crop], list[Crop]]:
    """Training and validation tiles, each part in a fixed mixed order.

    No pixel is in tiles of both parts: the right quarter of a photograph validates.
    """
    height, width = _PHOTOGRAPH
    split = int(width * _TRAINING_SHARE)
    parts = []
    for first, end in ((0, split), (split, width)):
        corners = [
            (photograph, top, left)
            for photograph in range(2)
            for top in range(0, height - TILE + 1, _STRIDE)
            for left in range(first, end - TILE + 1, _STRIDE)
        ]
        order = np.random.Generator(np.random.PCG64(0)).permutation(len(corners))
        parts.append([corners[index] for index in order])
    return parts[0], parts[1]


def _cut(crops: list[Crop], side: int, size: int) -> np.ndarray:
    """Squares of `side` pixels, scaled: (n, size, size, 3) uint8."""
    images = [Image.fromarray(photograph) for photograph in photographs().values()]
    found = np.empty((len(crops), size, size, 3), dtype=np.uint8)
    for row, (photograph, top, left) in enumerate(crops):
        crop = images[photograph].crop((left, top, left + side, top + side))
        found[row] = np.asarray(crop.resize((size, size), Image.Resampling.LANCZOS))
    return found


BUILTIN = {
    "digits": Builtin(tuple("0123456789"), _digit_labels, _digit_images),
    "photos": Builtin(("china", "flower"), _photo_labels, _photo_images, num_validation=len(_tiles()[1])),
}
