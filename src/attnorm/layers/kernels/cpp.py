"""The operator in C++ on the CPU: one parallel region a pass, in registers and caches; source in `cpu/`.

The features are read twice a pass and nothing but the result is written to memory. The softmax of logits and the sum
with a residual are part of the same passes. Registered as operators of PyTorch, which torch.compile calls without
looking inside; second derivatives go through the composed form, as the eager backend's do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attnorm.layers.autocast import without_autocast
from attnorm.layers.kernels import composed, library
from attnorm.layers.kernels.composed import NO_TRANSFORMS, Moments
from attnorm.layers.onlookers import is_transformed

STORAGE = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}


def refusal(v: Tensor, s: Tensor, variance: str) -> str | None:
    """Why this backend cannot run a call, or None. The first time, this builds or loads the library."""
    if is_transformed():
        return NO_TRANSFORMS
    if v.device.type != "cpu":
        return f"the features are on {v.device.type}, not on the CPU"
    if unknown := next((t.dtype for t in (v, s) if t.dtype not in STORAGE), None):
        return f"{unknown} is none of its dtypes (float32, bfloat16, float64)"
    if variance != "weighted":
        return f"it has no variance={variance!r}"
    return _library_refusal()


def _library_refusal() -> str | None:
    reason = library.refusal()
    return None if reason is None else f"its library is missing: {reason}"


# torch.compile asks while it traces, and takes the answer as a constant. This is all that
# torch.compiler.assume_constant_result does, after importing the whole compiler, which takes longer than torch itself.
_library_refusal._dynamo_marked_constant = True  # type: ignore[attr-defined]


def regional_norm(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    variance: str,
    eps: float,
    temperature: float | None = None,
    residual: Tensor | None = None,
) -> tuple[Tensor, Moments]:
    """See `composed.regional_norm`; `refusal` must have been None."""
    dtype = composed.compute_dtype(v, s)
    result_dtype = v.dtype if residual is None else residual.dtype
    if dtype == torch.float64:  # arithmetic in float64 reads and writes nothing else
        v, s = v.to(dtype), s.to(dtype)
        residual = None if residual is None else residual.to(dtype)
    weight, bias = (None if t is None else t.contiguous() for t in (weight, bias))
    out, mass, mean, var, shift = _forward(v, s, weight, bias, residual, temperature or 0.0, eps)
    return out.to(result_dtype), Moments(mass, mean + shift.unsqueeze(2), var)


# ---- the operators: maps are (b, c, p), and a temperature of 0 says that s is the layout and not logits ----


@torch.library.custom_op(
    "attnorm::regional_norm",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor v, Tensor s, Tensor? weight, Tensor? bias, Tensor? residual, float temperature, float eps)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _forward(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    temperature: float,
    eps: float,
) -> tuple[Tensor, ...]:
    out, *moments = _fake_forward(v, s, weight, bias, residual, temperature, eps)
    solve_forward(Call(v, s, weight, bias, temperature, eps), residual, out, moments)
    return out, *moments


@_forward.register_fake
def _fake_forward(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    temperature: float,
    eps: float,
) -> tuple[Tensor, ...]:
    return empty_like(v, v.dtype if residual is None else residual.dtype), *empty_moments(v, s)


@torch.library.custom_op(
    "attnorm::regional_norm_backward",
    mutates_args=(),
    device_types="cpu",
    schema="(Tensor grad, Tensor v, Tensor s, Tensor? weight, Tensor? bias, Tensor mass, Tensor mean, Tensor variance,"
    " Tensor shift, float temperature, float eps, bool[] needed) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _backward(
    grad: Tensor,
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mass: Tensor,
    mean: Tensor,
    variance: Tensor,
    shift: Tensor,
    temperature: float,
    eps: float,
    needed: list[bool],
) -> tuple[Tensor, ...]:
    found = _fake_backward(grad, v, s, weight, bias, mass, mean, variance, shift, temperature, eps, needed)
    results = [t if need else None for t, need in zip(found, needed, strict=True)]
    solve_backward(Call(v, s, weight, bias, temperature, eps), grad, (mass, mean, variance, shift), results)
    return found


@_backward.register_fake
def _fake_backward(
    grad: Tensor,
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mass: Tensor,
    mean: Tensor,
    variance: Tensor,
    shift: Tensor,
    temperature: float,
    eps: float,
    needed: list[bool],
) -> tuple[Tensor, ...]:
    """The gradients of v, s, weight and bias, empty where not needed."""
    parameter = (s.shape[1], v.shape[1])
    return (
        empty_like(v, v.dtype) if needed[0] else v.new_empty(0),
        empty_like(s, s.dtype) if needed[1] else s.new_empty(0),
        mean.new_zeros(parameter if needed[2] else 0),
        mean.new_zeros(parameter if needed[3] else 0),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    v, s, weight, bias, _, ctx.temperature, ctx.eps = inputs
    moments = output[1:]
    ctx.save_for_backward(v, s, weight, bias, *moments)
    ctx.mark_non_differentiable(*moments)


def _gradients(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    v, s, weight, bias, *moments = ctx.saved_tensors
    needed, d_residual = ctx.needs_input_grad[:4], grad if ctx.needs_input_grad[4] else None
    found: Sequence[Tensor | None]
    if torch.is_grad_enabled():
        with without_autocast(v):
            temperature = ctx.temperature or None
            found = composed.gradients(v, s, weight, bias, "weighted", ctx.eps, temperature, grad, needed)
    else:
        results = _backward(grad, v, s, weight, bias, *moments, ctx.temperature, ctx.eps, list(needed))
        found = [t if need else None for t, need in zip(results, needed, strict=True)]
    return (*found, d_residual, None, None)


_forward.register_autograd(_gradients, setup_context=_setup_context)


# ---- calling the library ----


class Call(NamedTuple):
    """The operator's arguments: v (b, c, p), s (b, n, p), weight and bias (n, c) or None for 1 and 0.

    Small tensors are contiguous and in the dtype of the computation. A temperature of 0 says that s is the layout;
    otherwise s holds logits, to which logit_offset (b, n) is added.
    """

    v: Tensor
    s: Tensor
    weight: Tensor | None
    bias: Tensor | None
    temperature: float
    eps: float
    logit_offset: Tensor | None = None


def solve_forward(call: Call, residual: Tensor | None, out: Tensor, moments: Sequence[Tensor]) -> None:
    """Writes the result, or its sum with the residual, into out, and into moments what `empty_moments` lists."""
    call = _in_order(call)
    problem = _problem(call, moments)
    problem.out = _map(out)
    if residual is not None:
        residual = _ordered(residual, like=out)
        problem.residual = _map(residual)
    _solve(library.library().attnorm_regional_norm_forward, problem)


def solve_backward(call: Call, grad: Tensor, moments: Sequence[Tensor], results: Sequence[Tensor | None]) -> None:
    """Writes the gradients of (v, s, weight, bias) into those of results that are not None."""
    call, grad = _in_order(call), _ordered(grad, like=call.v)
    problem = _problem(call, moments)
    problem.grad = _map(grad)
    d_v, d_s, d_weight, d_bias = results
    problem.d_features, problem.d_layout = _map(d_v), _map(d_s)
    problem.d_weight, problem.d_bias = _address(d_weight), _address(d_bias)
    _solve(library.library().attnorm_regional_norm_backward, problem)


def project(x: Tensor, matrix: Tensor) -> Tensor:
    """matrix (n, c), or one per image (b, n, c), times x (b, c, p): (b, n, p) in float32, in the order of x.

    x is float32 or bfloat16, the matrix float32; what is multiplied and summed is float32.
    """
    x, matrix = _ordered(x, like=x), matrix.contiguous()
    out = empty_like(x, torch.float32, channels=matrix.shape[-2])
    (b, c, p), n = x.shape, out.shape[1]
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


class _Map(ctypes.Structure):
    """attnorm_map of interface.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("type", ctypes.c_int64),
        ("image_stride", ctypes.c_int64),
        ("channel_stride", ctypes.c_int64),
        ("pixel_stride", ctypes.c_int64),
    )


class _Problem(ctypes.Structure):
    """attnorm_problem of interface.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "channels", "regions", "pixels", "in_double", "threads")),
        *((name, ctypes.c_double) for name in ("eps", "temperature")),
        *((name, _Map) for name in ("features", "layout", "residual", "out", "grad", "d_features", "d_layout")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "logit_offset")),
        *((name, ctypes.c_void_p) for name in ("mass", "mean", "variance", "shift", "d_weight", "d_bias")),
    )


class _Projection(ctypes.Structure):
    """attnorm_projection_problem of interface.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("images", "channels", "regions", "pixels", "threads")),
        *((name, _Map) for name in ("features", "out")),
        ("matrix", ctypes.c_void_p),
        ("matrix_image_stride", ctypes.c_int64),
    )


def _problem(call: Call, moments: Sequence[Tensor]) -> _Problem:
    """What both passes need to know. It holds addresses: the tensors must outlive it."""
    (b, c, p), n = call.v.shape, call.s.shape[1]
    mass, mean, variance, shift = moments
    return _Problem(
        images=b,
        channels=c,
        regions=n,
        pixels=p,
        in_double=mean.dtype == torch.float64,
        threads=torch.get_num_threads(),
        eps=call.eps,
        temperature=call.temperature,
        features=_map(call.v),
        layout=_map(call.s),
        weight=_address(call.weight),
        bias=_address(call.bias),
        logit_offset=_address(call.logit_offset),
        mass=_address(mass),
        mean=_address(mean),
        variance=_address(variance),
        shift=_address(shift),
    )


def _address(t: Tensor | None) -> int | None:
    return None if t is None else t.data_ptr()


def _map(t: Tensor | None) -> _Map:
    return _Map() if t is None else _Map(t.data_ptr(), STORAGE[t.dtype], *t.stride())


def _solve(function: Any, problem: _Problem | _Projection) -> None:
    if problem.images and function(ctypes.byref(problem)):
        raise MemoryError("no memory for the scratch space of regional_norm")


# ---- memory: a map is in order when a pixel's channels, or a channel's pixels, lie side by side ----


def channels_side_by_side(t: Tensor) -> bool:
    """Whether a (b, c, p) map is channels-last; where it could be called either it is not."""
    return t.stride(1) == 1 and t.shape[1] > 1


def empty_like(t: Tensor, dtype: torch.dtype, channels: int | None = None) -> Tensor:
    """Fresh memory for a (b, c, p) map, or one of so many channels, in the order of t and without gaps."""
    b, c, p = t.shape
    c = c if channels is None else channels
    if channels_side_by_side(t):
        return t.new_empty((b, p, c), dtype=dtype).transpose(1, 2)
    return t.new_empty((b, c, p), dtype=dtype)


def empty_moments(v: Tensor, s: Tensor) -> tuple[Tensor, ...]:
    """Fresh memory for the mass, the mean of v less its shift, the variance, and the shift, a constant per channel."""
    (b, c, _), n = v.shape, s.shape[1]
    dtype = composed.compute_dtype(v, s)
    return tuple(v.new_empty(shape, dtype=dtype) for shape in ((b, 1, n), (b, c, n), (b, c, n), (b, c)))


def _in_order(call: Call) -> Call:
    return call._replace(v=_ordered(call.v, like=call.v), s=_ordered(call.s, like=call.s))


def _ordered(t: Tensor, like: Tensor) -> Tensor:
    """t in the order of `like`; a copy only where it is in another."""
    if channels_side_by_side(like):
        return t if t.stride(1) == 1 else t.transpose(1, 2).contiguous().transpose(1, 2)
    return t if t.stride(2) == 1 else t.contiguous()
