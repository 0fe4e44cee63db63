"""The operators on the CPU, in C++ (source in `cpu/`): each pass works on tiles of the map that fit the caches.

For few channels every pass computes values and logits from x, tile by tile, and stores neither.
"""

import ctypes
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from attnorm.layers.kernels import library
from attnorm.layers.kernels.problem import Problem, multiply

STORAGE = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}
PROJECTED_CHANNELS = 64  # most channels of a problem with a projection


def refusal(device: torch.device, dtypes: Collection[torch.dtype], regions: int) -> str | None:
    """Why this kernel cannot run a call, or None. The first time, this builds or loads the library."""
    if device.type != "cpu":
        return f"the features are on {device.type}, not on the CPU"
    if unknown := next((dtype for dtype in dtypes if dtype not in STORAGE), None):
        return f"it takes float32, bfloat16 and float64, not {unknown}"
    reason = library.refusal()
    return None if reason is None else f"its library is missing: {reason}"


def doubt(x: Tensor, dtype: torch.dtype, regions: int) -> None:
    """None: a library that could be loaded needs no self-check."""


def forward(problem: Problem) -> None:
    _solve(library.library().attnorm_regional_norm_forward, _problem(problem))


def backward(problem: Problem) -> None:
    _solve(library.library().attnorm_regional_norm_backward, _problem(problem))


def float32_logits(x: Tensor, matrix: Tensor) -> Tensor:
    """matrix (n, c) or (b, n, c) times x (b, c, p): (b, n, p) from float32 products."""
    return multiply(x.to(matrix.dtype), matrix)


# ---- calling the library: structures as in cpu/interface.h ----

_MAPS = ("features", "layout", "residual", "out", "grad", "d_features", "d_layout")
_SMALL = ("weight", "bias", "logit_offset", "projection")
_RESULTS = ("mass", "mean", "variance", "shift", "d_weight", "d_bias", "d_projection", "d_logit_offset")


class _Map(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("type", ctypes.c_int64),
        ("image_stride", ctypes.c_int64),
        ("channel_stride", ctypes.c_int64),
        ("pixel_stride", ctypes.c_int64),
    )


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "channels", "regions", "pixels", "in_double", "threads")),
        *((name, ctypes.c_double) for name in ("eps", "temperature")),
        *((name, _Map) for name in _MAPS),
        *((name, ctypes.c_void_p) for name in _SMALL),
        ("projection_stride", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _RESULTS),
    )


def _problem(p: Problem) -> _Problem:
    """It holds addresses: the tensors must outlive it."""
    (b, c, pixels), statistics, projection = p.features.shape, p.statistics, p.projection
    given = {**vars(p), **statistics._asdict(), "logit_offset": p.offset, "d_logit_offset": p.d_offset}
    return _Problem(
        images=b,
        channels=c,
        regions=statistics.mass.shape[1],
        pixels=pixels,
        in_double=statistics.mass.dtype == torch.float64,
        threads=torch.get_num_threads(),
        eps=p.eps,
        temperature=p.temperature or 0.0,
        projection_stride=0 if projection is None or projection.ndim == 2 else projection.stride(0),
        **{name: _Map(t.data_ptr(), STORAGE[t.dtype], *t.stride()) for name in _MAPS if (t := given[name]) is not None},
        **{name: t.data_ptr() for name in (*_SMALL, *_RESULTS) if (t := given[name]) is not None},
    )


def _solve(function: Any, call: _Problem) -> None:
    if call.images and function(ctypes.byref(call)):
        raise MemoryError("no memory for the scratch space of attentive normalization")
