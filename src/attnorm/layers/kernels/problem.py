"""The arguments of a kernel, and the two memory orders of a map (b, c, p): NCHW, and channels-last, in which the
channels of a pixel lie side by side."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Statistics(NamedTuple):
    """What the forward pass leaves for the backward pass, in the dtype of the computation."""

    mass: Tensor  # (b, n)
    mean: Tensor  # (b, c, n), less the shift
    variance: Tensor  # (b, c, n)
    shift: Tensor  # (b, c), a constant near the mean of the features


@dataclass
class Problem:
    """One call of eq. 5, with a projection also of eq. 3 and 4; the kernel fills the tensors of the last two groups.

    Maps are (b, c, p), in one of the two orders. Small tensors are contiguous and in the dtype of the computation.
    """

    features: Tensor  # v, or x where there is a projection
    layout: Tensor | None  # s, or logits where there is a temperature
    statistics: Statistics
    weight: Tensor | None  # (n, c) or None for 1
    bias: Tensor | None  # (n, c) or None for 0
    eps: float
    temperature: float | None = None
    offset: Tensor | None = None  # of the logits of a projection, (b, n)
    projection: Tensor | None = None  # (c + n, c) or (b, c + n, c): of values and logits from x
    residual: Tensor | None = None  # added to out
    grad: Tensor | None = None  # of out
    # Forward:
    out: Tensor | None = None
    # Backward; None where not needed. With a projection d_features includes grad.
    d_features: Tensor | None = None
    d_layout: Tensor | None = None
    d_weight: Tensor | None = None  # (n, c)
    d_bias: Tensor | None = None
    d_projection: Tensor | None = None  # (b, c + n, c)
    d_offset: Tensor | None = None  # (b, n)


def empty_statistics(x: Tensor, n: int, dtype: torch.dtype) -> Statistics:
    b, c = x.shape[:2]
    return Statistics(*(x.new_empty(shape, dtype=dtype) for shape in ((b, n), (b, c, n), (b, c, n), (b, c))))


def empty_map(t: Tensor, dtype: torch.dtype, channels: int | None = None) -> Tensor:
    """An empty map in the memory order of t, (b, c, h, w) or (b, c, p), or one with another number of channels."""
    b, c, *size = t.shape
    shape = (b, c if channels is None else channels, *size)
    if not is_side_by_side(t.flatten(2)):
        return t.new_empty(shape, dtype=dtype)
    if t.ndim == 4:  # not a view: modules after the layer may change it in place
        return torch.empty(shape, dtype=dtype, device=t.device, memory_format=torch.channels_last)
    return t.new_empty((b, *size, shape[1]), dtype=dtype).transpose(1, 2)


def is_side_by_side(flat: Tensor) -> bool:
    """Whether a map (b, c, p) is channels-last; False for a single channel."""
    return flat.stride(1) == 1 and flat.shape[1] > 1


def flattened(t: Tensor, like: Tensor | None = None) -> Tensor:
    """(b, c, h, w) as (b, c, p) in one of the two orders, that of `like` if given; a copy only where needed."""
    flat = t.flatten(2)
    if is_side_by_side(flat if like is None else like):
        return flat if flat.stride(1) == 1 else flat.transpose(1, 2).contiguous().transpose(1, 2)
    return flat if flat.stride(2) == 1 else flat.contiguous()


def arithmetic_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 where an input is float64, else float32."""
    return torch.float64 if torch.float64 in [t.dtype for t in tensors] else torch.float32


def multiply(flat: Tensor, matrix: Tensor) -> Tensor:
    """matrix (m, c) or (b, m, c) times the features flat (b, c, p) of every pixel; (b, m, p) in the order of flat."""
    if is_side_by_side(flat):
        return torch.matmul(flat.transpose(1, 2), matrix.transpose(-2, -1)).transpose(1, 2)
    return torch.bmm(matrix.expand(flat.shape[0], -1, -1), flat)
