"""The operators on the CPU: one parallel region a pass over the map, in registers and caches; C++ source in `cpu/`.

For few channels the C++ code computes values and logits tile by tile in every pass and stores neither. For many it gets
them from one matrix product, which is quicker then and kept for the backward pass.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from attnorm.layers.kernels import library

STORAGE = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}
TILED_CHANNELS = 64  # at most so many channels are projected tile by tile


def refusal(device: torch.device, dtypes: Collection[torch.dtype], regions: int) -> str | None:
    """Why this kernel cannot run a call, or None. The first time, this builds or loads the library."""
    if device.type != "cpu":
        return f"the features are on {device.type}, not on the CPU"
    if unknown := next((dtype for dtype in dtypes if dtype not in STORAGE), None):
        return f"{unknown} is none of its dtypes (float32, bfloat16, float64)"
    return _library_refusal()


def _library_refusal() -> str | None:
    reason = library.refusal()
    return None if reason is None else f"its library is missing: {reason}"


_library_refusal._dynamo_marked_constant = True  # type: ignore[attr-defined] # see operator.py


# ---- regional_norm ----


def empty_regional_norm(v: Tensor, s: Tensor) -> tuple[Tensor, ...]:
    """The result, the mass (b, n), the mean (b, c, n) of v less its shift, the variance, and the shift (b, c)."""
    return _empty_map(v, v.dtype), *_empty_statistics(v, s.shape[1], _arithmetic(v, s))


def regional_norm(v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, ...]:
    """See `operator`; weight and bias are (n, c), and the results are those of `empty_regional_norm`."""
    out, *statistics = empty_regional_norm(v, s)
    dtype = statistics[0].dtype
    v, s = (_flat(t.double() if dtype == torch.float64 else t) for t in (v, s))  # float64 reads and writes nothing else
    s = _in_order_of(v, s)
    result = _empty_map(v, dtype) if dtype == torch.float64 != out.dtype else _flat(out)
    problem = _problem(v, s.shape[1], statistics, weight, bias, eps, layout=_map(s), out=_map(result))
    _solve(library.library().attnorm_regional_norm_forward, problem)
    if result.dtype != out.dtype:
        _flat(out).copy_(result)
    return out, *statistics


def regional_norm_backward(
    grad: Tensor,
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    statistics: Sequence[Tensor],
    eps: float,
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """The gradients of v, s, weight and bias, None where not needed."""
    n, dtype = s.shape[1], statistics[0].dtype
    double = dtype == torch.float64
    flat_v, flat_s, flat_grad = (_flat(t.double() if double else t) for t in (v, s, grad))
    flat_s, flat_grad = _in_order_of(flat_v, flat_s), _in_order_of(flat_v, flat_grad)
    d_v = _empty_map(flat_v, flat_v.dtype) if needed[0] else None
    d_s = _empty_map(flat_s, flat_s.dtype) if needed[1] else None
    d_weight, d_bias = (flat_v.new_zeros((n, v.shape[1]), dtype=dtype) if need else None for need in needed[2:])
    problem = _problem(
        flat_v,
        n,
        statistics,
        weight,
        bias,
        eps,
        layout=_map(flat_s),
        grad=_map(flat_grad),
        d_features=_map(d_v),
        d_layout=_map(d_s),
        d_weight=_address(d_weight),
        d_bias=_address(d_bias),
    )
    _solve(library.library().attnorm_regional_norm_backward, problem)
    return *(None if d is None else d.unflatten(2, v.shape[2:]) for d in (d_v, d_s)), d_weight, d_bias


# ---- attentive_norm ----


def empty_attentive_norm(x: Tensor, product: torch.dtype, n: int) -> tuple[Tensor, ...]:
    """The result, the statistics of `empty_regional_norm`, and what a product of many channels leaves: the values
    (b, c, p) and logits (b, n, p) side by side, or the values, in the product's dtype, and the logits in float32.
    """
    results = _empty_map(x, x.dtype), *_empty_statistics(x, n, _arithmetic(x))
    if _is_tiled(x):
        return *results, x.new_empty(0), x.new_empty(0)
    flat, c = x.flatten(2), x.shape[1]
    if _is_joint(x, product):
        return *results, _empty_map(flat, product, c + n), x.new_empty(0)
    return *results, _empty_map(flat, product, c), _empty_map(flat, torch.float32, n)


def attentive_norm(
    x: Tensor,
    value: Tensor,
    matrix: Tensor,
    offset: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    temperature: float,
    eps: float,
) -> tuple[Tensor, ...]:
    """x + regional_norm(value x, softmax(temperature (matrix x + offset)), weight, bias).

    value is (c, c), matrix (n, c) or (b, n, c), offset (b, n). The results are those of `empty_attentive_norm`.
    """
    n, flat = matrix.shape[-2], _flat(x)
    out, statistics = _empty_map(x, x.dtype), _empty_statistics(x, n, _arithmetic(x))
    common: dict[str, Any] = {"temperature": temperature, "logit_offset": _address(offset)}
    common |= {"residual": _map(flat), "out": _map(_flat(out))}
    if _is_tiled(x):
        projection = _stacked(value, matrix, matrix.dtype)
        problem = _problem(flat, n, statistics, weight, bias, eps, **_projection(projection), **common)
        saved = x.new_empty(0), x.new_empty(0)
    elif _is_joint(x, value.dtype):
        joint = _multiply(flat, _stacked(value, matrix, value.dtype))
        saved, layout = (joint, x.new_empty(0)), _map(joint[:, x.shape[1] :])
        problem = _problem(joint[:, : x.shape[1]], n, statistics, weight, bias, eps, layout=layout, **common)
    else:
        saved = _multiply(flat.to(value.dtype), value), _project(flat, matrix)
        problem = _problem(saved[0], n, statistics, weight, bias, eps, layout=_map(saved[1]), **common)
    _solve(library.library().attnorm_regional_norm_forward, problem)
    return out, *statistics, *saved


def attentive_norm_backward(
    grad: Tensor,
    x: Tensor,
    value: Tensor,
    matrix: Tensor,
    offset: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    temperature: float,
    eps: float,
    saved: Sequence[Tensor],
    needed: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """The gradients of x, value, matrix (b, n, c), offset (b, n), weight and bias (n, c); three only if `needed`."""
    (b, c), n, dtype = x.shape[:2], matrix.shape[-2], matrix.dtype
    *statistics, values, logits = saved
    flat = _flat(x)
    upstream = _in_order_of(flat, _flat(grad))
    d_weight, d_bias = (None if t is None else torch.zeros_like(t) for t in (weight, bias))
    common: dict[str, Any] = {"temperature": temperature, "logit_offset": _address(offset), "grad": _map(upstream)}
    common |= {"d_weight": _address(d_weight), "d_bias": _address(d_bias)}
    need_x, need_value, need_matrix = needed
    solve = library.library().attnorm_regional_norm_backward
    if _is_tiled(x):
        projection = _stacked(value, matrix, dtype)
        d_x = _empty_map(x, x.dtype) if need_x else None
        d_projection, d_offset = x.new_zeros((b, c + n, c), dtype=dtype), x.new_zeros((b, n), dtype=dtype)
        if need_value or need_matrix:
            common |= {"d_projection": _address(d_projection), "d_logit_offset": _address(d_offset)}
        common |= {"d_features": _map(None if d_x is None else _flat(d_x))}
        _solve(solve, _problem(flat, n, statistics, weight, bias, eps, **_projection(projection), **common))
    else:
        value_map, logit_map = (values[:, :c], values[:, c:]) if logits.numel() == 0 else (values, logits)
        # Gradients of values and logits are of one dtype, that of the product with x, for one product with both.
        d_joint = _empty_map(flat, value.dtype, c + n)
        common |= {"d_features": _map(d_joint[:, :c]), "d_layout": _map(d_joint[:, c:]), "layout": _map(logit_map)}
        _solve(solve, _problem(value_map, n, statistics, weight, bias, eps, **common))
        d_x = None
        if need_x:
            product = _multiply(d_joint, _stacked(value, matrix, value.dtype).transpose(-2, -1))
            d_x = product.to(upstream.dtype).add_(upstream).unflatten(2, x.shape[2:])
        first = 0 if need_value else c  # a frozen layer hands gradients on through its keys alone
        rows = torch.bmm(d_joint[:, first:], flat.to(value.dtype).transpose(1, 2))
        d_projection = torch.cat([rows.new_zeros((b, first, c)), rows], 1) if first else rows
        d_offset = d_joint[:, c:].sum(2, dtype=dtype)
    d_value = d_projection[:, :c].sum(0, dtype=dtype) if need_value else None
    d_matrix = d_projection[:, c:].to(dtype) if need_matrix else None
    return d_x, d_value, d_matrix, d_offset, d_weight, d_bias


def _is_tiled(x: Tensor) -> bool:
    return x.shape[1] <= TILED_CHANNELS


def _is_joint(x: Tensor, product: torch.dtype) -> bool:
    """Whether one product gives values and logits: logits are never rounded to half precision."""
    return product == x.dtype == _arithmetic(x)


def _stacked(value: Tensor, matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The matrix of both products, (c + n, c), or (b, c + n, c) where each image has its own logits."""
    return torch.cat([value.to(dtype).expand(*matrix.shape[:-2], -1, -1), matrix.to(dtype)], dim=-2)


def _multiply(flat: Tensor, matrix: Tensor) -> Tensor:
    """matrix (m, c) or (b, m, c) times the features flat (b, c, p) of every pixel; (b, m, p) in the order of flat."""
    if _is_side_by_side(flat):
        return torch.matmul(flat.transpose(1, 2), matrix.transpose(-2, -1)).transpose(1, 2)
    return torch.bmm(matrix.expand(flat.shape[0], -1, -1), flat)


def _project(x: Tensor, matrix: Tensor) -> Tensor:
    """matrix (n, c) or (b, n, c) times x (b, c, p): (b, n, p) in float32 from float32 products, in the order of x."""
    (b, c, p), n = x.shape, matrix.shape[-2]
    matrix, out = matrix.contiguous(), _empty_map(x, torch.float32, n)
    problem = _Projection(
        images=b,
        channels=c,
        regions=n,
        pixels=p,
        threads=torch.get_num_threads(),
        features=_map(x),
        out=_map(out),
        matrix=_address(matrix),
        matrix_image_stride=0 if matrix.ndim == 2 else n * c,
    )
    _solve(library.library().attnorm_projection, problem)
    return out


# ---- calling the library: structures as in cpu/interface.h ----


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
        *((name, _Map) for name in ("features", "layout", "residual", "out", "grad", "d_features", "d_layout")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "logit_offset", "projection")),
        ("projection_stride", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("mass", "mean", "variance", "shift")),
        *((name, ctypes.c_void_p) for name in ("d_weight", "d_bias", "d_projection", "d_logit_offset")),
    )


class _Projection(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "channels", "regions", "pixels", "threads")),
        *((name, _Map) for name in ("features", "out")),
        ("matrix", ctypes.c_void_p),
        ("matrix_image_stride", ctypes.c_int64),
    )


def _problem(
    features: Tensor,
    n: int,
    statistics: Sequence[Tensor],
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    **others: Any,
) -> _Problem:
    """What both passes need to know. It holds addresses: the tensors must outlive it."""
    (b, c, p), (mass, mean, variance, shift) = features.shape, statistics
    return _Problem(
        images=b,
        channels=c,
        regions=n,
        pixels=p,
        in_double=mean.dtype == torch.float64,
        threads=torch.get_num_threads(),
        eps=eps,
        features=_map(features),
        weight=_address(weight),
        bias=_address(bias),
        mass=_address(mass),
        mean=_address(mean),
        variance=_address(variance),
        shift=_address(shift),
        **others,
    )


def _projection(matrix: Tensor) -> dict[str, Any]:
    return {"projection": _address(matrix), "projection_stride": 0 if matrix.ndim == 2 else matrix.stride(0)}


def _address(t: Tensor | None) -> int | None:
    return None if t is None else t.data_ptr()


def _map(t: Tensor | None) -> _Map:
    return _Map() if t is None else _Map(t.data_ptr(), STORAGE[t.dtype], *t.stride())


def _solve(function: Any, problem: _Problem | _Projection) -> None:
    if problem.images and function(ctypes.byref(problem)):
        raise MemoryError("no memory for the scratch space of attentive normalisation")


# ---- memory: in a map (b, c, p) the channels of a pixel lie side by side, or the pixels of a channel ----


def _empty_map(t: Tensor, dtype: torch.dtype, channels: int | None = None) -> Tensor:
    """Fresh memory for a map (b, c, h, w) or (b, c, p), or one of so many channels, in the order of t without gaps."""
    b, c, *size = t.shape
    shape = (b, c if channels is None else channels, *size)
    if not _is_side_by_side(t.flatten(2)):
        return t.new_empty(shape, dtype=dtype)
    if t.ndim == 4:  # not a view, so that what follows the layer may change it in place
        return torch.empty(shape, dtype=dtype, device=t.device, memory_format=torch.channels_last)
    return t.new_empty((b, *size, shape[1]), dtype=dtype).transpose(1, 2)


def _empty_statistics(x: Tensor, n: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    b, c = x.shape[:2]
    return tuple(x.new_empty(shape, dtype=dtype) for shape in ((b, n), (b, c, n), (b, c, n), (b, c)))


def _arithmetic(*tensors: Tensor) -> torch.dtype:
    return torch.float64 if torch.float64 in [t.dtype for t in tensors] else torch.float32


def _is_side_by_side(flat: Tensor) -> bool:
    """Whether a map (b, c, p) is channels-last; where it could be called either it is not."""
    return flat.stride(1) == 1 and flat.shape[1] > 1


def _flat(t: Tensor) -> Tensor:
    """(b, c, h, w) as (b, c, p), in one of the two orders; a copy only where t is in neither."""
    flat = t.flatten(2)
    return flat if _is_side_by_side(flat) or flat.stride(2) == 1 else flat.contiguous()


def _in_order_of(like: Tensor, t: Tensor) -> Tensor:
    """t (b, c, p) in the order of another map."""
    if _is_side_by_side(like):
        return t if t.stride(1) == 1 else t.transpose(1, 2).contiguous().transpose(1, 2)
    return t if t.stride(2) == 1 else t.contiguous()
