"""AttentiveNorm2d as one operator of PyTorch, and its inner half `regional_norm`: shapes, gradients, who computes them.

`attnorm::attentive_norm` goes from the features and the layer's weights to its output. What is large is done by the
kernel of the device; the few small products around the sampled filters are done here:

    eq. 2, 3   t F + f(x) = (W + t K Q) x + t K b, where K are the keys (n, k) at the sampled positions of an image and
               Q (k, c), b (k) are the query's weight and bias: neither F nor the queries are computed pixel by pixel
    eq. 6      rho is multiplied into the affine weights, in which eq. 5 is linear

Only x and statistics per region are kept for the backward pass, and for many channels the projected values and logits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from attnorm.layers.context import is_channels_last, is_dispatched, is_exporting, is_transformed, without_autocast
from attnorm.layers.kernels import cpu, gpu

KERNELS: dict[str, ModuleType] = {"cpu": cpu, "cuda": gpu}  # by device
NAMES: dict[str, ModuleType] = {"cpp": cpu, "triton": gpu}
# The kernel that a device uses unless told otherwise. "cuda": "triton" is added once a GPU has measured it.
AUTOMATIC = {"cpu": "cpp"}


def refusal(kernel: str, tensors: Sequence[Tensor | None], regions: int, variance: str = "weighted") -> str | None:
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
    reason: str | None = NAMES[kernel].refusal(present[0].device, {t.dtype for t in present}, regions, variance)
    return reason


def _is_off() -> bool:
    return os.environ.get("ATTNORM_KERNEL", "").lower() in ("off", "0", "no", "false")


# torch.compile takes the answer as a constant. This is all that torch.compiler.assume_constant_result does, after
# importing the whole compiler, which takes longer than torch itself.
_is_off._dynamo_marked_constant = True  # type: ignore[attr-defined]


# ---- regional_norm: eq. 5 ----


def regional_norm(
    v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, variance: str, eps: float
) -> Tensor:
    """See `attnorm.layers.regional_norm`; `refusal` must have been None."""
    return _regional_norm(v, s, weight, bias, variance, eps)[0]


@torch.library.custom_op(
    "attnorm::regional_norm",
    mutates_args=(),
    schema="(Tensor v, Tensor s, Tensor? weight, Tensor? bias, str variance, float eps)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _regional_norm(
    v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, variance: str, eps: float
) -> tuple[Tensor, ...]:
    """The result and the statistics that the backward pass needs."""
    dtype, n = arithmetic_dtype(v, s), s.shape[1]
    results: tuple[Tensor, ...] = _kernel(v).regional_norm(
        v, s, _expanded(weight, n, dtype), _expanded(bias, n, dtype), variance, eps
    )
    return results


@_regional_norm.register_fake
def _fake_regional_norm(
    v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, variance: str, eps: float
) -> Any:
    return _kernel(v).empty_regional_norm(v, s)


@torch.library.custom_op(
    "attnorm::regional_norm_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor v, Tensor s, Tensor? weight, Tensor? bias, Tensor[] statistics, str variance,"
    " float eps, bool[] needed) -> Tensor[]",
)
def _regional_norm_backward(
    grad: Tensor,
    v: Tensor,
    s: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    statistics: Sequence[Tensor],
    variance: str,
    eps: float,
    needed: Sequence[bool],
) -> list[Tensor]:
    """The gradients of v, s, weight and bias, empty where not needed."""
    dtype, n = arithmetic_dtype(v, s), s.shape[1]
    affine = _expanded(weight, n, dtype), _expanded(bias, n, dtype)
    found = _kernel(v).regional_norm_backward(grad, v, s, *affine, statistics, variance, eps, needed)
    return _filled((v, s, weight, bias), found, needed)


@_regional_norm_backward.register_fake
def _fake_regional_norm_backward(grad: Tensor, *arguments: Any) -> list[Tensor]:
    return _empty_gradients(arguments[:4], arguments[-1])


def _regional_norm_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.variance, ctx.eps = inputs
    ctx.save_for_backward(*tensors, *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _regional_norm_gradients(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    tensors, statistics = ctx.saved_tensors[:4], list(ctx.saved_tensors[4:])
    needed, options = list(ctx.needs_input_grad[:4]), (ctx.variance, ctx.eps)
    if grad is None:
        return (None,) * 6
    if torch.is_grad_enabled():
        from attnorm.layers.regional_norm import normalize  # which imports this module

        found = _differentiable_gradients(
            lambda v, *rest: normalize(v, *rest, *options).to(v.dtype), tensors, needed, grad
        )
    else:
        found = _present(_regional_norm_backward(grad, *tensors, statistics, *options, needed), needed)
    return (*found, None, None)


_regional_norm.register_autograd(_regional_norm_gradients, setup_context=_regional_norm_setup)


# ---- attentive_norm: the layer ----


class Inputs(NamedTuple):
    """The tensors of the layer, as the layer has them; key to positions are None where nothing is sampled."""

    x: Tensor  # (b, c, h, w)
    value: Tensor  # (c, c, 1, 1), in the dtype of its product with x: autocast's under autocast
    entities: Tensor  # (n, c, 1, 1)
    key: Tensor | None  # (k, c, 1, 1)
    key_bias: Tensor | None  # (k,)
    query: Tensor | None  # (k, c, 1, 1)
    query_bias: Tensor | None  # (k,)
    sampling_gain: Tensor | None  # (n,)
    weight: Tensor | None  # (n, c) or (c,)
    bias: Tensor | None  # (n, c) or (c,)
    residual_gain: Tensor  # (1,)
    positions: Tensor | None  # (b, n): of the sampled filters in the pooled map


INPUTS = len(Inputs._fields)
_TENSORS = ", ".join(
    f"Tensor{'' if n in ('x', 'value', 'entities', 'residual_gain') else '?'} {n}" for n in Inputs._fields
)
_OPTIONS = "int pool_size, float temperature, float eps"


def attentive_norm(inputs: Inputs, pool_size: int, temperature: float, eps: float) -> Tensor:
    """The output of the layer, in the shape, dtype and memory format of x; `refusal` must have been None."""
    return _attentive_norm(*inputs, pool_size, temperature, eps)[0]


@torch.library.custom_op(
    "attnorm::attentive_norm",
    mutates_args=(),
    schema=f"({_TENSORS}, {_OPTIONS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _attentive_norm(*arguments: Any) -> tuple[Tensor, ...]:
    """The output and what the backward pass needs of the kernel."""
    inputs, (pool_size, temperature, eps) = Inputs(*arguments[:INPUTS]), arguments[INPUTS:]
    with without_autocast(inputs.x):
        filters = _sample_filters(inputs, pool_size)
        weight, bias = _scaled_affine(inputs)
        results: tuple[Tensor, ...] = _kernel(inputs.x).attentive_norm(
            inputs.x, inputs.value.flatten(1), filters.matrix, filters.offset, weight, bias, temperature, eps
        )
    return results


@_attentive_norm.register_fake
def _fake_attentive_norm(*arguments: Any) -> tuple[Tensor, ...]:
    x, value, entities = arguments[:3]
    results: tuple[Tensor, ...] = _kernel(x).empty_attentive_norm(x, value.dtype, entities.shape[0])
    return results


@torch.library.custom_op(
    "attnorm::attentive_norm_backward",
    mutates_args=(),
    schema=f"(Tensor grad, {_TENSORS}, Tensor[] saved, {_OPTIONS}, bool[] needed) -> Tensor[]",
)
def _attentive_norm_backward(grad: Tensor, *arguments: Any) -> list[Tensor]:
    """The gradients of `Inputs` but for the positions, empty where not needed."""
    inputs, (saved, pool_size, temperature, eps, needed) = Inputs(*arguments[:INPUTS]), arguments[INPUTS:]
    need = Inputs(*needed, False)  # type: ignore[arg-type]
    samples = inputs.positions is not None
    with without_autocast(inputs.x):
        filters = _sample_filters(inputs, pool_size)
        affine = _scaled_affine(inputs)
        # The gradient of the logits' matrix goes to W, the sampled filters and, through the keys, to x.
        d_x, d_value, d_matrix, d_offset, d_weight, d_bias = _kernel(inputs.x).attentive_norm_backward(
            grad,
            inputs.x,
            inputs.value.flatten(1),
            filters.matrix,
            filters.offset,
            *affine,
            saved,
            temperature,
            eps,
            needed=(bool(need.x), bool(need.value), bool(need.entities) or samples),
        )
        found: dict[str, Tensor] = {"x": d_x, "value": d_value} | _affine_gradients(inputs, d_weight, d_bias)
        if d_matrix is not None:
            found["entities"] = d_matrix.sum(0)
        if samples:
            found |= _sampling_gradients(inputs, pool_size, filters, d_matrix, d_offset, d_x)
    tensors = inputs[:-1]
    return _filled(tensors, [found.get(name) for name in Inputs._fields[:-1]], needed)


@_attentive_norm_backward.register_fake
def _fake_attentive_norm_backward(grad: Tensor, *arguments: Any) -> list[Tensor]:
    return _empty_gradients(arguments[: INPUTS - 1], arguments[-1])


def _attentive_norm_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.options = inputs[INPUTS:]
    ctx.save_for_backward(*inputs[:INPUTS], *output[1:])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _attentive_norm_gradients(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    inputs, saved = Inputs(*ctx.saved_tensors[:INPUTS]), list(ctx.saved_tensors[INPUTS:])
    needed = list(ctx.needs_input_grad[: INPUTS - 1])
    found: Sequence[Tensor | None] = (None,) * len(needed)
    if grad is not None and torch.is_grad_enabled():
        found = _differentiable_gradients(
            lambda *tensors: _reference(Inputs(*tensors, inputs.positions), *ctx.options), inputs[:-1], needed, grad
        )
    elif grad is not None:
        found = _present(_attentive_norm_backward(grad, *inputs, saved, *ctx.options, needed), needed)
    return (*found, None, None, None, None)


_attentive_norm.register_autograd(_attentive_norm_gradients, setup_context=_attentive_norm_setup)


def _reference(inputs: Inputs, pool_size: int, temperature: float, eps: float) -> Tensor:
    """The same in plain PyTorch, from the tensors of the operator, for second derivatives."""
    from attnorm.layers.attentive_norm import semantic_layout  # which imports this module
    from attnorm.layers.regional_norm import normalize

    def conv(weight: Tensor | None, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        return lambda x: F.conv2d(x.to(weight.dtype), weight, bias)  # type: ignore[union-attr, arg-type]

    x, value, entities, key, key_bias, query, query_bias, gain, weight, bias, residual_gain, positions = inputs
    with without_autocast(x):
        convs = conv(entities), conv(key, key_bias), conv(query, query_bias)
        s = semantic_layout(x.to(entities.dtype), *convs, gain, positions, pool_size, temperature)
        return (x + residual_gain * normalize(conv(value)(x), s, weight, bias, eps=eps)).to(x.dtype)


# ---- sampled filters (eq. 2) and affine weights: small tensors ----


class _Filters(NamedTuple):
    """The logits are matrix x + offset. The rest is what their gradients need."""

    matrix: Tensor  # W + t K Q: (n, c), or (b, n, c) where filters are sampled
    offset: Tensor | None = None  # t K b: (b, n)
    picked: Tensor | None = None  # (b, n m, c): features of the m pixels that are pooled at each position
    keys: Tensor | None = None  # (b, n, k)
    choice: Tensor | None = None  # (b, n, k): which of the m pixels has the largest key


def _sample_filters(inputs: Inputs, pool_size: int) -> _Filters:
    x, dtype = inputs.x, arithmetic_dtype(inputs.x)
    entities = inputs.entities.flatten(1).to(dtype)
    if inputs.positions is None:
        return _Filters(entities)
    key, key_bias, query, query_bias, gain = _sampling_weights(inputs, dtype)
    pixels = _pooled_pixels(x, inputs.positions, pool_size)
    picked = _pick_pixels(x, pixels.flatten(1)).to(dtype)
    keys, choice = (picked @ key.t() + key_bias).unflatten(1, pixels.shape[1:]).max(2)
    filters = gain.unsqueeze(1) * keys
    return _Filters(entities + filters @ query, (filters @ query_bias).contiguous(), picked, keys, choice)


def _sampling_gradients(
    inputs: Inputs, pool_size: int, filters: _Filters, d_matrix: Tensor, d_offset: Tensor, d_x: Tensor | None
) -> dict[str, Tensor]:
    """The gradients of key, query and gain, from those of matrix and offset; adds that of the keys' pixels to d_x."""
    _, _, picked, keys, choice = filters
    key, _, query, query_bias, gain = _sampling_weights(inputs, d_matrix.dtype)
    scaled = gain.unsqueeze(1) * keys
    d_filters = d_matrix @ query.t() + d_offset.unsqueeze(2) * query_bias
    d_keys = gain.unsqueeze(1) * d_filters
    pixels = _pooled_pixels(inputs.x, inputs.positions, pool_size)
    # Of the pixels that are pooled, the one with the largest key gets its gradient, channel by channel.
    d_all_keys = d_keys.new_zeros((*pixels.shape, d_keys.shape[-1]))
    d_all_keys = d_all_keys.scatter_(2, choice.unsqueeze(2), d_keys.unsqueeze(2)).flatten(1, 2)
    if d_x is not None:
        _add_pixels(d_x, pixels.flatten(1), d_all_keys @ key)
    return {
        "key": d_all_keys.flatten(0, 1).t() @ picked.flatten(0, 1),
        "key_bias": d_keys.sum((0, 1)),
        "query": scaled.flatten(0, 1).t() @ d_matrix.flatten(0, 1),
        "query_bias": d_offset.flatten() @ scaled.flatten(0, 1),
        "sampling_gain": (d_filters * keys).sum((0, 2)),
    }


def _sampling_weights(inputs: Inputs, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Key (k, c), its bias, query (k, c), its bias, and the gain t."""
    return tuple(t.flatten(1).to(dtype) if t.ndim == 4 else t.to(dtype) for t in inputs[3:8])  # type: ignore[union-attr]


def _pooled_pixels(x: Tensor, positions: Tensor, pool: int) -> Tensor:
    """Flat indices (b, n, pool^2) of the pixels of x that are pooled at flat positions (b, n) of the pooled map."""
    width, columns = x.shape[3], x.shape[3] // pool
    first = (positions // columns * width + positions % columns) * pool
    steps = torch.arange(pool, device=x.device)
    return first.unsqueeze(-1) + (steps.unsqueeze(1) * width + steps).flatten()


def _pick_pixels(x: Tensor, index: Tensor) -> Tensor:
    """The features of x (b, c, h, w) at flat indices (b, m), as (b, m, c)."""
    if not is_channels_last(x):
        return x.flatten(2).gather(2, index.unsqueeze(1).expand(-1, x.shape[1], -1)).transpose(1, 2)
    rows = x.permute(0, 2, 3, 1).flatten(0, 2)
    return rows.index_select(0, _row_numbers(index, x)).view(*index.shape, -1)


def _add_pixels(d_x: Tensor, index: Tensor, values: Tensor) -> None:
    """Adds values (b, m, c) to d_x (b, c, h, w) at flat indices (b, m), no two of which are the same."""
    values = values.to(d_x.dtype)
    if is_channels_last(d_x):
        rows = d_x.permute(0, 2, 3, 1).flatten(0, 2)
        rows.index_add_(0, _row_numbers(index, d_x), values.flatten(0, 1))
    else:
        d_x.flatten(2).scatter_add_(2, index.unsqueeze(1).expand(-1, d_x.shape[1], -1), values.transpose(1, 2))


def _row_numbers(index: Tensor, x: Tensor) -> Tensor:
    """Flat indices (b, m) in each image of x as indices (b m) in all of them."""
    first = torch.arange(x.shape[0], device=x.device) * (x.shape[2] * x.shape[3])
    return (index + first.unsqueeze(1)).flatten()


def _scaled_affine(inputs: Inputs) -> tuple[Tensor, Tensor | None]:
    """rho weight and rho bias, (n, c) in the dtype of the computation."""
    n, c = inputs.entities.shape[:2]
    dtype = arithmetic_dtype(inputs.x)
    rho = inputs.residual_gain.to(dtype)
    weight, bias = (None if t is None else (rho * t.to(dtype)).expand(n, -1) for t in (inputs.weight, inputs.bias))
    return (rho.expand(n, c) if weight is None else weight).contiguous(), None if bias is None else bias.contiguous()


def _affine_gradients(inputs: Inputs, d_weight: Tensor, d_bias: Tensor | None) -> dict[str, Tensor]:
    """The gradients of weight, bias and rho, from those of their products (n, c)."""
    rho = inputs.residual_gain.to(d_weight.dtype)
    if inputs.weight is None:
        return {"residual_gain": d_weight.sum().view(1)}
    d_rho = (d_weight * inputs.weight).sum() + (d_bias * inputs.bias).sum()
    found = {"weight": d_weight, "bias": d_bias}
    return {"residual_gain": d_rho.view(1)} | {k: rho * d.sum_to_size(inputs.weight.shape) for k, d in found.items()}


# ---- gradients in lists ----


def arithmetic_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 where an input is float64, else float32."""
    return torch.float64 if torch.float64 in [t.dtype for t in tensors] else torch.float32


def _kernel(x: Tensor) -> ModuleType:
    return KERNELS[x.device.type]


def _expanded(parameter: Tensor | None, n: int, dtype: torch.dtype) -> Tensor | None:
    """A parameter (n, c) or (c,) as contiguous (n, c)."""
    return None if parameter is None else parameter.to(dtype).expand(n, -1).contiguous()


def _filled(tensors: Sequence[Tensor | None], found: Sequence[Tensor | None], needed: Sequence[bool]) -> list[Tensor]:
    """Gradients in the shapes and dtypes of their tensors, and empty ones where not needed."""
    results = []
    for t, d, need in zip(tensors, found, needed, strict=True):
        if not need or t is None:
            results.append(_nothing(tensors))
        elif d is None:
            results.append(torch.zeros_like(t))
        else:
            reduced = d.sum_to_size(t.shape) if d.numel() != t.numel() else d.reshape(t.shape)
            results.append(reduced.to(t.dtype))
    return results


def _empty_gradients(tensors: Sequence[Tensor | None], needed: Sequence[bool]) -> list[Tensor]:
    return [
        torch.empty_like(t) if need and t is not None else _nothing(tensors)
        for t, need in zip(tensors, needed, strict=True)
    ]


def _nothing(tensors: Sequence[Tensor | None]) -> Tensor:
    x = tensors[0]
    assert x is not None
    return x.new_empty(0)


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
