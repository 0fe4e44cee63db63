"""AttentiveNorm2d as one operator of PyTorch, and its inner half `regional_norm`: shapes, gradients, who computes them.

`torch.ops.attnorm.attentive_norm` takes x and the layer's weights to its output. The kernel of the device does what is
large; the small matrices of the sampled filters come from `filters`, and rho is multiplied into the affine weights, in
which eq. 5 is linear. Only x and statistics of the regions are kept for the backward pass, and for many channels the
projected values and logits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from attnorm.layers.context import is_dispatched, is_exporting, is_transformed, without_autocast
from attnorm.layers.kernels import cpu, gpu
from attnorm.layers.kernels.filters import Keys, Sampling, sample_filters, sampling_gradients

KERNELS: dict[str, ModuleType] = {"cpu": cpu, "cuda": gpu}  # by device
BY_NAME: dict[str, ModuleType] = {"cpp": cpu, "triton": gpu}
# The kernel that a device uses unless told otherwise. "cuda": "triton" joins once a GPU has measured it.
AUTOMATIC = {"cpu": "cpp"}


def refusal(kernel: str, tensors: Sequence[Tensor | None], regions: int) -> str | None:
    """Why a kernel ("cpp" or "triton") cannot run a call with these tensors here and now, or None."""
    if _is_off():
        return "ATTNORM_KERNEL switches it off"
    if is_exporting():
        return "an exported or traced graph has PyTorch's own operations"
    if is_transformed():
        return "it has no rule for transforms of torch.func and forward-mode differentiation"
    if is_dispatched(*tensors):
        return "a dispatch mode or a subclass of Tensor must see every operation"
    present = [t for t in tensors if t is not None]
    if other := next((t.device for t in present if t.device != present[0].device), None):
        return f"some tensors are on {present[0].device} and some on {other}"
    reason: str | None = BY_NAME[kernel].refusal(present[0].device, {t.dtype for t in present}, regions)
    return reason


def _is_off() -> bool:
    return os.environ.get("ATTNORM_KERNEL", "").lower() in ("off", "0", "no", "false")


# torch.compile takes the answer as a constant. This is all that torch.compiler.assume_constant_result does, after
# importing the whole compiler, which takes longer than torch itself.
_is_off._dynamo_marked_constant = True  # type: ignore[attr-defined]


LIBRARY = torch.library.Library("attnorm", "DEF")


def _register(schema: str, function: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """An operator without gradients. `torch.library.custom_op` would import the compiler at the first call."""
    name = schema.partition("(")[0]
    LIBRARY.define(schema, tags=torch.Tag.pt2_compliant_tag)
    for key in ("CPU", "CUDA"):
        LIBRARY.impl(name, function, key)
    torch.library.register_fake(f"attnorm::{name}", fake, lib=LIBRARY)


# ---- regional_norm: eq. 5 ----


def regional_norm(v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """See `attnorm.layers.regional_norm`; `refusal` must have been None."""
    return cast(Tensor, torch.ops.attnorm.regional_norm(v, s, weight, bias, eps)[0])


def _regional_norm(v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
    """The result and the statistics that the backward pass needs."""
    dtype, n = arithmetic_dtype(v, s), s.shape[1]
    return _kernel(v).regional_norm(v, s, _per_region(weight, n, dtype), _per_region(bias, n, dtype), eps)


def _fake_regional_norm(v: Tensor, s: Tensor, *_: Any) -> Any:
    return _kernel(v).empty_regional_norm(v, s)


def _regional_norm_backward(grad: Tensor, *arguments: Any) -> list[Tensor]:
    """The gradients of v, s, weight and bias, empty where not needed."""
    v, s, weight, bias, statistics, eps, needed = arguments
    dtype, n = arithmetic_dtype(v, s), s.shape[1]
    affine = _per_region(weight, n, dtype), _per_region(bias, n, dtype)
    found = _kernel(v).regional_norm_backward(grad, v, s, *affine, statistics, eps, needed)
    return _like(arguments[:4], found, needed)


def _fake_regional_norm_backward(grad: Tensor, *arguments: Any) -> list[Tensor]:
    return _empty_like(arguments[:4], arguments[-1])


def _regional_norm_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.eps = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _regional_norm_gradients(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    tensors, statistics, needed = ctx.saved_tensors[:4], list(ctx.saved_tensors[4:]), list(ctx.needs_input_grad[:4])
    if grad is None:
        return (None,) * 5
    if not torch.is_grad_enabled():
        found = torch.ops.attnorm.regional_norm_backward(grad, *tensors, statistics, ctx.eps, needed)
        return (*_present(found, needed), None)

    from attnorm.layers.regional_norm import normalize  # which imports this module

    def plain(v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        return normalize(v, s, weight, bias, eps=ctx.eps).to(v.dtype)

    return (*_differentiable_gradients(plain, tensors, needed, grad), None)


_register(
    "regional_norm(Tensor v, Tensor s, Tensor? weight, Tensor? bias, float eps)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _regional_norm,
    _fake_regional_norm,
)
_register(
    "regional_norm_backward(Tensor grad, Tensor v, Tensor s, Tensor? weight, Tensor? bias, Tensor[] statistics,"
    " float eps, bool[] needed) -> Tensor[]",
    _regional_norm_backward,
    _fake_regional_norm_backward,
)
torch.library.register_autograd(
    "attnorm::regional_norm", _regional_norm_gradients, setup_context=_regional_norm_setup, lib=LIBRARY
)


# ---- attentive_norm: the layer ----


class Inputs(NamedTuple):
    """The tensors of the layer, as the layer has them; the last six are None where no filters are sampled."""

    x: Tensor  # (b, c, h, w)
    value: Tensor  # (c, c, 1, 1), in the dtype of its product with x: autocast's under autocast
    entities: Tensor  # (n, c, 1, 1)
    residual_gain: Tensor  # (1,)
    weight: Tensor | None  # (n, c) or (c,), or None for 1
    bias: Tensor | None  # the same, or None for 0
    key: Tensor | None = None  # (k, c, 1, 1)
    key_bias: Tensor | None = None  # (k,)
    query: Tensor | None = None  # (k, c, 1, 1)
    query_bias: Tensor | None = None  # (k,)
    sampling_gain: Tensor | None = None  # (n,)
    positions: Tensor | None = None  # (b, n): of the sampled filters in the pooled map


NAMES = Inputs._fields[:-1]  # of those that have a gradient


def attentive_norm(inputs: Inputs, pool_size: int, temperature: float, eps: float) -> Tensor:
    """The output of the layer, in the shape, dtype and memory format of x; `refusal` must have been None."""
    return cast(Tensor, torch.ops.attnorm.attentive_norm(*inputs, pool_size, temperature, eps)[0])


def _attentive_norm(*arguments: Any) -> Any:
    """The output and what the backward pass needs of the kernel."""
    inputs, (pool_size, temperature, eps) = Inputs(*arguments[:-3]), arguments[-3:]
    with without_autocast(inputs.x):
        small = _small_tensors(inputs, pool_size)
        x, value = inputs.x, inputs.value.flatten(1)
        return _kernel(x).attentive_norm(x, value, *small[:4], temperature, eps)


def _fake_attentive_norm(x: Tensor, value: Tensor, entities: Tensor, *_: Any) -> Any:
    return _kernel(x).empty_attentive_norm(x, value.dtype, entities.shape[0])


def _attentive_norm_backward(grad: Tensor, *arguments: Any) -> list[Tensor]:
    """The gradients of all `Inputs` but the positions, empty where not needed."""
    inputs, (pool_size, temperature, eps, saved, needed) = Inputs(*arguments[:-5]), arguments[-5:]
    need = dict(zip(NAMES, needed, strict=True))
    with without_autocast(inputs.x):
        small = _small_tensors(inputs, pool_size)
        # The logits' matrix is made of the entities and the sampled filters, and with these of x.
        wanted = need["x"], need["value"], need["entities"] or small.sampling is not None
        x, value = inputs.x, inputs.value.flatten(1)
        d_x, d_value, d_matrix, d_offset, d_weight, d_bias = _kernel(x).attentive_norm_backward(
            grad, x, value, *small[:4], temperature, eps, saved, wanted
        )
        found = {"x": d_x, "value": d_value, "entities": None if d_matrix is None else d_matrix.sum(0)}
        if inputs.weight is None or inputs.bias is None:
            found["residual_gain"] = d_weight.sum()
        else:
            rho = inputs.residual_gain.to(d_weight.dtype)
            found |= {"weight": rho * d_weight, "bias": rho * d_bias}
            found["residual_gain"] = (d_weight * inputs.weight).sum() + (d_bias * inputs.bias).sum()
        if small.sampling is not None and small.keys is not None:
            sampled = sampling_gradients(small.sampling, small.keys, d_matrix, d_offset, d_x)
            found |= dict(zip(NAMES[6:], sampled, strict=True))
    return _like(inputs[:-1], [found.get(name) for name in NAMES], needed)


def _fake_attentive_norm_backward(grad: Tensor, *arguments: Any) -> list[Tensor]:
    return _empty_like(arguments[: len(NAMES)], arguments[-1])


def _attentive_norm_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.options = inputs[-3:]
    ctx.save_for_backward(*inputs[:-3], *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _attentive_norm_gradients(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    count = len(Inputs._fields)
    inputs, saved = Inputs(*ctx.saved_tensors[:count]), list(ctx.saved_tensors[count:])
    needed = list(ctx.needs_input_grad[: len(NAMES)])
    if grad is None:
        return (None,) * (count + 3)
    if not torch.is_grad_enabled():
        found = torch.ops.attnorm.attentive_norm_backward(grad, *inputs, *ctx.options, saved, needed)
        return (*_present(found, needed), None, None, None, None)

    def plain(*tensors: Any) -> Tensor:
        return _reference(Inputs(*tensors, positions=inputs.positions), *ctx.options)  # type: ignore[misc]

    return (*_differentiable_gradients(plain, inputs[:-1], needed, grad), None, None, None, None)


_TENSORS = ", ".join(f"Tensor{'' if index < 4 else '?'} {name}" for index, name in enumerate(Inputs._fields))
_OPTIONS = "int pool_size, float temperature, float eps"
_register(
    f"attentive_norm({_TENSORS}, {_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _attentive_norm,
    _fake_attentive_norm,
)
_register(
    f"attentive_norm_backward(Tensor grad, {_TENSORS}, {_OPTIONS}, Tensor[] saved, bool[] needed) -> Tensor[]",
    _attentive_norm_backward,
    _fake_attentive_norm_backward,
)
torch.library.register_autograd(
    "attnorm::attentive_norm", _attentive_norm_gradients, setup_context=_attentive_norm_setup, lib=LIBRARY
)


def _reference(inputs: Inputs, pool_size: int, temperature: float, eps: float) -> Tensor:
    """The operator in plain PyTorch, for second derivatives."""
    from attnorm.layers.attentive_norm import semantic_layout  # which imports this module
    from attnorm.layers.regional_norm import normalize

    def conv(weight: Tensor | None, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        return lambda x: F.conv2d(x, cast(Tensor, weight), bias)

    x, value, entities, residual_gain, weight, bias, key, key_bias, query, query_bias, gain, positions = inputs
    with without_autocast(x):
        convs = conv(entities), conv(key, key_bias), conv(query, query_bias)
        s = semantic_layout(x.to(entities.dtype), *convs, gain, positions, pool_size, temperature)
        normalized = normalize(F.conv2d(x.to(value.dtype), value), s, weight, bias, eps=eps)
        return (x + residual_gain * normalized).to(x.dtype)


class _Small(NamedTuple):
    """What kernels get beside x and the value's weight, and what sampling leaves for its gradients."""

    matrix: Tensor  # of the logits, (n, c), or (b, n, c) where filters are sampled
    offset: Tensor | None  # of the logits, (b, n)
    weight: Tensor  # (n, c), times rho
    bias: Tensor | None  # (n, c), times rho
    sampling: Sampling | None = None
    keys: Keys | None = None


def _small_tensors(inputs: Inputs, pool_size: int) -> _Small:
    """In the dtype of the computation."""
    dtype = arithmetic_dtype(inputs.x)
    entities, rho = inputs.entities.flatten(1).to(dtype), inputs.residual_gain.to(dtype)
    n, c = entities.shape
    weight = (rho if inputs.weight is None else rho * inputs.weight.to(dtype)).expand(n, c).contiguous()
    bias = None if inputs.bias is None else (rho * inputs.bias.to(dtype)).expand(n, c).contiguous()
    if inputs.positions is None:
        return _Small(entities, None, weight, bias)
    given = cast(tuple[Tensor, ...], inputs[6:11])
    sampling = Sampling(*(t.flatten(1).to(dtype) if t.ndim == 4 else t.to(dtype) for t in given))
    matrix, offset, keys = sample_filters(inputs.x, entities, sampling, inputs.positions, pool_size)
    return _Small(matrix, offset.contiguous(), weight, bias, sampling, keys)


# ---- helpers of both ----


def arithmetic_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 where an input is float64, else float32."""
    return torch.float64 if torch.float64 in [t.dtype for t in tensors] else torch.float32


def _kernel(x: Tensor) -> ModuleType:
    return KERNELS[x.device.type]


def _per_region(parameter: Tensor | None, n: int, dtype: torch.dtype) -> Tensor | None:
    """A parameter (n, c) or (c,) as contiguous (n, c)."""
    return None if parameter is None else parameter.to(dtype).expand(n, -1).contiguous()


def _like(tensors: Sequence[Any], gradients: Sequence[Tensor | None], needed: Sequence[bool]) -> list[Tensor]:
    """Gradients in the shapes and dtypes of their tensors, summed over what these share; empty where not needed."""
    results = _empty_like(tensors, [False] * len(tensors))
    for index, (t, gradient, need) in enumerate(zip(tensors, gradients, needed, strict=True)):
        if need and gradient is not None:
            whole = gradient.reshape(t.shape) if gradient.numel() == t.numel() else gradient.sum_to_size(t.shape)
            results[index] = whole.to(t.dtype)
    return results


def _empty_like(tensors: Sequence[Any], needed: Sequence[bool]) -> list[Tensor]:
    return [torch.empty_like(t) if need else tensors[0].new_empty(0) for t, need in zip(tensors, needed, strict=True)]


def _present(results: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor | None]:
    return [t if need else None for t, need in zip(results, needed, strict=True)]


def _differentiable_gradients(
    function: Callable[..., Tensor], tensors: Sequence[Tensor | None], needed: Sequence[bool], grad: Tensor
) -> list[Tensor | None]:
    """The gradients of a function as a graph: what second derivatives go through.

    The statistics are computed again from the inputs: to autograd those that the operator saved are constants, and
    second derivatives through them would be silently wrong.
    """
    # Views: of two inputs one may have been computed from the other, and its gradient would then hold what reaches it
    # through the other as well, which autograd adds by itself.
    inputs = [None if t is None else t.view_as(t) for t in tensors]
    wanted = [t for t, need in zip(inputs, needed, strict=True) if need and t is not None]
    found = iter(torch.autograd.grad(function(*inputs), wanted, grad, create_graph=True, materialize_grads=True))
    return [next(found) if need else None for need in needed]
