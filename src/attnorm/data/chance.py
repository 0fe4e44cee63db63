"""Scalar draws. `Generator.choice` and `integers` cost ten times as much as these."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """One of `items`, each as likely as the others."""
    return items[int(rng.random() * len(items))]


def between(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    """A number from the interval `bounds`."""
    low, high = bounds
    return low + (high - low) * float(rng.random())


def whole(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    """An integer from `bounds`, both ends included."""
    low, high = bounds
    return low + int(rng.random() * (high - low + 1))


def happens(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability."""
    return bool(rng.random() < probability)
