"""The operators in Triton, on NVIDIA's GPUs: two passes over the maps forward, two backward.

The softmax of the logits and the sum with a residual are part of the same passes. The statistics are float32 for every
half-precision map, and nothing depends on the order in which programs run: the same input gives the same bits.

Tested against float64 in Triton's interpreter, and compiled for compute capabilities 8.0 and 9.0 without spills; it has
not run on a GPU yet, and its speed there is unmeasured. `import attnorm` does not import
triton: the first call does.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from attnorm.layers.context import is_channels_last
from attnorm.layers.kernels.gpu import launches
from attnorm.layers.kernels.gpu.launches import Gradients, Launch, Options, Statistics

STORAGE = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
MAX_REGIONS = 64  # a block holds all regions of a pixel in registers
SMALLEST_TRITON = (3, 7)  # of those tested
SMALLEST_CAPABILITY = (8, 0)  # TF32 and bfloat16 on the tensor cores


def refusal(device: torch.device, dtypes: Collection[torch.dtype], regions: int) -> str | None:
    """Why this kernel cannot run a call, or None."""
    if device.type != "cuda" and not (device.type == "cpu" and _interprets()):
        return f"the features are on {device.type}, not on a CUDA device"
    if unknown := next((dtype for dtype in dtypes if dtype not in STORAGE), None):
        return f"{unknown} is none of its dtypes (float32, bfloat16, float16, float64)"
    if regions > MAX_REGIONS:
        return f"it takes at most {MAX_REGIONS} regions, not {regions}"
    return _machine_refusal(device)


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


for _question in (_machine_refusal, _interprets):  # see operator.py
    vars(_question)["_dynamo_marked_constant"] = True


# ---- regional_norm ----


def empty_regional_norm(v: Tensor, s: Tensor) -> tuple[Tensor, ...]:
    """The result and the statistics as `Statistics` has them."""
    return _empty_map(v, v.shape[1], v.dtype), *_empty_statistics(v, s.shape[1], _arithmetic(v, s))


def regional_norm(v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, ...]:
    """See `operator`; weight and bias are (n, c), and the results are those of `empty_regional_norm`."""
    out, *statistics = empty_regional_norm(v, s)
    _run_forward(v, s, weight, bias, None, Options(None, eps), out, statistics)
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
    d_v, d_s = (_empty_map(t, t.shape[1], t.dtype) if need else None for t, need in zip((v, s), needed, strict=False))
    options = Options(None, eps)
    d_weight, d_bias = _run_backward(grad, v, s, weight, bias, options, statistics, d_v, d_s)
    return d_v, d_s, d_weight, d_bias


# ---- attentive_norm: one matrix product, and eq. 4 to 6 in the programs ----


def empty_attentive_norm(x: Tensor, product: torch.dtype, n: int) -> tuple[Tensor, ...]:
    """The result, the statistics, the values (b, c, h, w) in the product's dtype, and the logits (b, n, h, w)."""
    value, logits = _empty_map(x, x.shape[1], product), _empty_map(x, n, _arithmetic(x))
    return _empty_map(x, x.shape[1], x.dtype), *_empty_statistics(x, n, _arithmetic(x)), value, logits


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
    out, *statistics, v, s = empty_attentive_norm(x, value.dtype, matrix.shape[-2])
    _project(x.to(value.dtype), value, v)
    _project(x.to(matrix.dtype), matrix, s)
    if offset is not None:
        s += offset[:, :, None, None]
    _run_forward(v, s, weight, bias, x, Options(temperature, eps), out, statistics)
    return out, *statistics, v, s


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
    *statistics, v, s = saved
    d_v, d_s = torch.empty_like(v), torch.empty_like(s)
    options = Options(temperature, eps)
    d_weight, d_bias = _run_backward(grad, v, s, weight, bias, options, statistics, d_v, d_s)
    d_x = d_value = d_matrix = None
    if needed[0]:
        d_x = _empty_map(x, x.shape[1], x.dtype)
        from_values = _project(d_v, value.t(), _empty_map(x, x.shape[1], value.dtype))
        from_logits = _project(d_s, matrix.transpose(-2, -1), _empty_map(x, x.shape[1], matrix.dtype))
        torch.add(from_logits.add_(from_values), grad, out=d_x)
    if needed[1]:
        d_value = torch.bmm(d_v.flatten(2), x.to(d_v.dtype).flatten(2).transpose(1, 2)).sum(0, dtype=matrix.dtype)
    if needed[2]:
        d_matrix = torch.bmm(d_s.flatten(2), x.to(d_s.dtype).flatten(2).transpose(1, 2))
    return d_x, d_value, d_matrix, d_s.sum((2, 3)), d_weight, d_bias


def _project(x: Tensor, matrix: Tensor, out: Tensor) -> Tensor:
    """A 1x1 convolution of x (b, c, h, w) with a matrix (m, c) or (b, m, c), into out (b, m, h, w)."""
    torch.bmm(matrix.expand(x.shape[0], -1, -1), x.flatten(2), out=out.flatten(2))
    return out


def _empty_map(x: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """Fresh memory for a map of so many channels, channels-last or contiguous as x is."""
    order = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    shape = (x.shape[0], channels, *x.shape[2:])
    return torch.empty(shape, dtype=dtype, device=x.device, memory_format=order)


def _empty_statistics(x: Tensor, n: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    b, c = x.shape[:2]
    return tuple(x.new_empty(shape, dtype=dtype) for shape in ((b, n), (b, c, n), (b, c, n), (b, c)))


def _arithmetic(*tensors: Tensor) -> torch.dtype:
    return torch.float64 if torch.float64 in [t.dtype for t in tensors] else torch.float32


# ---- running programs ----


def _run_forward(
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    options: Options,
    out: Tensor,
    statistics: Sequence[Tensor],
) -> None:
    """Fills out and the statistics."""
    if v.shape[0]:
        maps = v.flatten(2), s.flatten(2), weight, bias, None if residual is None else residual.flatten(2)
        _run(launches.forward(*maps, options, out.flatten(2), Statistics(*statistics)), v)


def _run_backward(
    grad: Tensor,
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    options: Options,
    statistics: Sequence[Tensor],
    d_v: Tensor | None,
    d_s: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Fills the gradients of the maps, where there are any, and returns those of weight and bias."""
    found = Statistics(*statistics)
    batch, channels, regions = found.mean.shape
    terms = found.mean.new_empty(batch, 2, regions, channels)
    if batch:
        flat_v, flat_s = (None if d is None else d.flatten(2) for d in (d_v, d_s))
        into = Gradients(flat_v, flat_s, found.mean.new_empty(batch, 5, channels, regions), terms)
        _run(launches.backward(v.flatten(2), s.flatten(2), weight, bias, grad.flatten(2), options, found, into), v)
    d_weight, d_bias = terms.sum(0)
    return d_weight, d_bias.clone()


def _run(calls: list[Launch], on: Tensor) -> None:
    from attnorm.layers.kernels.gpu import programs

    with torch.cuda.device_of(on):
        for call in calls:
            getattr(programs, call.program)[call.grid](*call.arguments, **call.settings)
