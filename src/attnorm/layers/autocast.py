"""Where autocast must not reach: layouts, moments and spectral norms are computed in float32."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor


def without_autocast(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """A context in which operations on this tensor's device keep their dtype."""
    kind = tensor.device.type
    # The meta device, where networks are built without memory, has no autocast to switch off.
    return contextlib.nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)


def autocast_dtype(tensor: Tensor) -> torch.dtype | None:
    """The dtype that autocast gives to products with this tensor, or None where it leaves them alone."""
    kind = tensor.device.type
    if kind == "meta" or tensor.dtype == torch.float64 or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)
