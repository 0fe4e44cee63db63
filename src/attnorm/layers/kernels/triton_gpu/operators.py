"""The operator on a GPU: launches of `programs`, registered as operators of PyTorch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attnorm.layers.autocast import without_autocast
from attnorm.layers.kernels import composed
from attnorm.layers.kernels.composed import NO_TRANSFORMS, Moments
from attnorm.layers.kernels.triton_gpu import launches
from attnorm.layers.kernels.triton_gpu.launches import Gradients, Launch, Options, Statistics
from attnorm.layers.onlookers import is_transformed

STORAGE = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
MAX_REGIONS = 64  # a block holds all regions of a pixel in registers
SMALLEST_TRITON = (3, 7)  # of those tested
SMALLEST_CAPABILITY = (8, 0)  # TF32 and bfloat16 on the tensor cores


def refusal(v: Tensor, s: Tensor, variance: str) -> str | None:
    """Why this backend cannot run a call, or None. Both variances run."""
    if is_transformed():
        return NO_TRANSFORMS
    if v.device.type != "cuda" and not (v.device.type == "cpu" and _interprets()):
        return f"the features are on {v.device.type}, not on a CUDA device"
    if s.device != v.device:
        return f"the features are on {v.device} and the layout on {s.device}"
    if unknown := next((t.dtype for t in (v, s) if t.dtype not in STORAGE), None):
        return f"{unknown} is none of its dtypes (float32, bfloat16, float16, float64)"
    if s.shape[1] > MAX_REGIONS:
        return f"it takes at most {MAX_REGIONS} regions, not {s.shape[1]}"
    return _machine_refusal(v.device)


def _machine_refusal(device: torch.device) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    version = importlib.metadata.version("triton")
    if tuple(int(part) for part in version.split(".")[:2]) < SMALLEST_TRITON:
        return f"it needs triton {'.'.join(map(str, SMALLEST_TRITON))} or newer, not {version}"
    if device.type != "cuda":
        return None
    if torch.version.hip is not None:
        return "it is written for NVIDIA's GPUs, and this PyTorch is built for AMD's"
    capability = torch.cuda.get_device_capability(device)
    if capability < SMALLEST_CAPABILITY:
        wanted, found = (".".join(map(str, c)) for c in (SMALLEST_CAPABILITY, capability))
        return f"it needs compute capability {wanted}, and this GPU has {found}"
    return None


def _interprets() -> bool:
    """Whether Triton is to run its programs in Python on the CPU: slow, for tests. Read as Triton reads it."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")


# torch.compile asks while it traces, and takes the answers as constants. This is what the decorator
# torch.compiler.assume_constant_result does, which would import the compiler here, and that takes seconds.
for _question in (_machine_refusal, _interprets):
    vars(_question)["_dynamo_marked_constant"] = True


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
    """Normalises v (b, c, p) inside the regions s (b, n, p); returns the result and the moments.

    With a temperature s holds logits, and the layout is softmax(temperature s) over n. The result has v's dtype and
    memory format; with a residual (b, c, p) it is their sum in the residual's dtype. `refusal` must have been None.
    """
    out, mass, mean, var, *_ = _forward(v, s, weight, bias, residual, temperature, variance, eps)
    return out, Moments(mass.unsqueeze(1), mean, var)


@torch.library.custom_op(
    "attnorm::triton_regional_norm",
    mutates_args=(),
    schema="(Tensor v, Tensor s, Tensor? weight, Tensor? bias, Tensor? residual, float? temperature, str variance,"
    " float eps) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _forward(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    temperature: float | None,
    variance: str,
    eps: float,
) -> tuple[Tensor, ...]:
    """The result, and the statistics as `Statistics` has them."""
    out, *statistics = results = _fake_forward(v, s, weight, bias, residual, temperature, variance, eps)
    if v.shape[0]:
        options = Options(temperature, variance, eps)
        _run(launches.forward(v, s, weight, bias, residual, options, out, Statistics(*statistics)), v)
    return results


@_forward.register_fake
def _fake_forward(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    temperature: float | None,
    variance: str,
    eps: float,
) -> tuple[Tensor, ...]:
    return empty_results(v, s, residual)


def empty_results(v: Tensor, s: Tensor, residual: Tensor | None) -> tuple[Tensor, ...]:
    """The result, and the statistics as `Statistics` has them."""
    batch, channels, _ = v.shape
    dtype = composed.compute_dtype(v, s)
    out = torch.empty_like(v, dtype=v.dtype if residual is None else residual.dtype)
    mass, shift = v.new_empty(batch, s.shape[1], dtype=dtype), v.new_empty(batch, channels, dtype=dtype)
    mean, var, centre = (v.new_empty(batch, channels, s.shape[1], dtype=dtype) for _ in range(3))
    return out, mass, mean, var, centre, shift


@torch.library.custom_op(
    "attnorm::triton_regional_norm_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor v, Tensor s, Tensor? weight, Tensor? bias, Tensor mass, Tensor mean, Tensor var,"
    " Tensor centre, Tensor shift, float? temperature, str variance, float eps, bool[] needed)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
def _backward(
    grad: Tensor,
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mass: Tensor,
    mean: Tensor,
    var: Tensor,
    centre: Tensor,
    shift: Tensor,
    temperature: float | None,
    variance: str,
    eps: float,
    needed: Sequence[bool],
) -> tuple[Tensor, ...]:
    """The gradients of v, s, weight and bias, empty where not needed."""
    results = _fake_backward(
        grad, v, s, weight, bias, mass, mean, var, centre, shift, temperature, variance, eps, needed
    )
    batch, channels, regions = mean.shape
    terms = mean.new_empty(batch, 2, regions, channels)
    if batch:
        into = Gradients(
            results[0] if needed[0] else None,
            results[1] if needed[1] else None,
            mean.new_empty(batch, 5, channels, regions),
            terms,
        )
        options, found = Options(temperature, variance, eps), Statistics(mass, mean, var, centre, shift)
        _run(launches.backward(v, s, weight, bias, grad, options, found, into), v)
    for index in (2, 3):
        if needed[index]:
            torch.sum(terms[:, index - 2], 0, out=results[index])
    return results


@_backward.register_fake
def _fake_backward(
    grad: Tensor,
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mass: Tensor,
    mean: Tensor,
    var: Tensor,
    centre: Tensor,
    shift: Tensor,
    temperature: float | None,
    variance: str,
    eps: float,
    needed: Sequence[bool],
) -> tuple[Tensor, ...]:
    parameter = (s.shape[1], v.shape[1])
    return (
        torch.empty_like(v) if needed[0] else v.new_empty(0),
        torch.empty_like(s) if needed[1] else v.new_empty(0),
        mean.new_empty(parameter if needed[2] else 0),
        mean.new_empty(parameter if needed[3] else 0),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    v, s, weight, bias, _, *ctx.options = inputs
    ctx.save_for_backward(v, s, weight, bias, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    v, s, weight, bias, *statistics = ctx.saved_tensors
    grad, needed = grads[0], list(ctx.needs_input_grad[:4])
    if grad is None:
        return (None,) * 8
    found: tuple[Tensor | None, ...] = (None,) * 4
    if any(needed) and torch.is_grad_enabled():
        temperature, variance, eps = ctx.options
        with without_autocast(v):
            found = composed.gradients(v, s, weight, bias, variance, eps, temperature, grad, needed)
    elif any(needed):
        results = _backward(grad, v, s, weight, bias, *statistics, *ctx.options, needed)
        found = tuple(
            t.to(i.dtype) if n else None for t, i, n in zip(results, (v, s, weight, bias), needed, strict=True)
        )
    return (*found, grad if ctx.needs_input_grad[4] else None, None, None, None)


_forward.register_autograd(_gradients, setup_context=_setup_context)


def _run(calls: list[Launch], on: Tensor) -> None:
    from attnorm.layers.kernels.triton_gpu import programs

    with torch.cuda.device_of(on):
        for call in calls:
            getattr(programs, call.program)[call.grid](*call.arguments, **call.settings)
