"""The built-in sets, which come with scikit-learn: handwritten digits, and tiles of two photographs."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image

from attnorm.data.dataset import ImageDataset

_DARKEST_DIGIT = 16  # the largest value of scikit-learn's digits
_PHOTOGRAPH = 427, 640  # height and width
TILE = 128  # side of a tile in pixels of the photograph, before scaling
_STRIDE = 16  # from one tile to the next
_TRAINING_SHARE = 3 / 4  # of a photograph's width, from the left

Crop = tuple[int, int, int]  # photograph, top, left
_EXAMPLE_SIDE = 256
_EXAMPLES: list[Crop] = [(0, 90, 75), (1, 95, 180), (0, 160, 330), (1, 171, 230)]


def load_builtin(name: str, size: int) -> ImageDataset:
    """A built-in set in memory, images (N, size, size, 3) uint8."""
    return BUILTIN[name](size)


def validation_part(name: str) -> np.ndarray | None:
    """The indices of the validation images of a built-in set; None if it has none or `name` is not built in."""
    training, validation = map(len, _tiles())
    return np.arange(training, training + validation) if name == "photos" else None


def example_images(size: int, count: int) -> np.ndarray:
    """Crops of the photographs to try a model on, (count, size, size, 3) uint8, at most four."""
    return _cut(_EXAMPLES[:count], _EXAMPLE_SIDE, size)


def _digits(size: int) -> ImageDataset:
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images * (255 / _DARKEST_DIGIT)).astype(np.uint8)
    resized = [Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC) for digit in grey]
    images = np.repeat(np.stack(list(map(np.asarray, resized)))[..., None], 3, axis=3)
    return ImageDataset(images, digits.target.astype(np.int64), tuple("0123456789"))


def _photos(size: int) -> ImageDataset:
    training, validation = _tiles()
    labels = np.array([photograph for photograph, _, _ in training + validation], dtype=np.int64)
    return ImageDataset(_cut(training + validation, TILE, size), labels, ("china", "flower"))


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
    from sklearn.datasets import load_sample_images

    images = list(map(Image.fromarray, load_sample_images().images))  # china, flower
    found = np.empty((len(crops), size, size, 3), dtype=np.uint8)
    for row, (photograph, top, left) in enumerate(crops):
        crop = images[photograph].crop((left, top, left + side, top + side))
        found[row] = np.asarray(crop.resize((size, size), Image.Resampling.LANCZOS))
    return found


BUILTIN: dict[str, Callable[[int], ImageDataset]] = {"digits": _digits, "photos": _photos}
