"""Checks of arguments: each raises a ValueError that names the argument."""

import math
import numbers
from collections.abc import Sequence

import torch
from torch import Tensor


def require_whole(**values: object) -> None:
    """Each value must be a whole number of at least 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(f"{name} must be positive and whole, got {value!r}")


def require_positive(**values: object) -> None:
    """Each value must be a positive finite number."""
    for name, value in values.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not 0 < value < math.inf:  # type: ignore[operator]
            raise ValueError(f"{name} must be positive and finite, got {value!r}")


def require_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {tuple(choices)}, got {value!r}")


def require_labels(labels: Tensor, batch: int, num_classes: int, *, mixtures: bool = False) -> None:
    """Labels must be (b,) integers or, with `mixtures`, weights of the classes (b, num_classes)."""
    is_mixture = mixtures and labels.shape == (batch, num_classes)
    is_index = labels.dtype in (torch.int64, torch.int32) and labels.shape == (batch,)
    if not (is_mixture or is_index):
        forms = "(b,) int64" + (f" or mixtures (b, {num_classes})" if mixtures else "")
        raise ValueError(f"labels must be {forms} with b = {batch}, got {tuple(labels.shape)} {labels.dtype}")
