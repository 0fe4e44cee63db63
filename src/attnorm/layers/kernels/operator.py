"""AttentiveNorm2d as one operator of PyTorch, and its inner half `regional_norm`: results, shapes and gradients.

`torch.ops.attnorm.attentive_norm` computes the layer's output from x and its weights. The device's kernel works on the
maps; `filters` computes the small matrices of the sampled filters. The backward pass keeps only x and the statistics of
the regions, and for many channels the projected values and logits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnorm.layers.context import autocast_dtype, without_autocast
from attnorm.layers.kernels.filters import Keys, Sampling, sample_filters, sampling_gradients
from attnorm.layers.kernels.problem import (
    Problem,
    Statistics,
    arithmetic_dtype,
    empty_map,
    empty_statistics,
    flattened,
    multiply,
)
from attnorm.layers.kernels.registry import automatic_refusal, kernel_of, like, register, storable

# ---- regional_norm: eq. 5 ----


def regional_norm(v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    """See `attnorm.layers.regional_norm`; `refusal` must have been None."""
    dtype, n = arithmetic_dtype(v, s), s.shape[1]
    affine = per_region(weight, n, dtype), per_region(bias, n, dtype)
    return cast(Tensor, torch.ops.attnorm.regional_norm(v, s, *affine, eps)[0])


def per_region(parameter: Tensor | None, n: int, dtype: torch.dtype) -> Tensor | None:
    """A parameter (n, c) or (c,) as contiguous (n, c)."""
    return None if parameter is None else parameter.to(dtype).expand(n, -1).contiguous()


def _regional_norm(v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
    """The result and the statistics that the backward pass needs."""
    dtype = arithmetic_dtype(v, s)
    out, *statistics = _fake_regional_norm(v, s)
    flat = flattened(storable(v, dtype))
    result = flattened(storable(out, dtype))
    problem = Problem(flat, flattened(storable(s, dtype), flat), Statistics(*statistics), weight, bias, eps, out=result)
    kernel_of(v).forward(problem)
    if result.dtype != out.dtype:
        out.flatten(2).copy_(result)
    return out, *statistics


def _fake_regional_norm(v: Tensor, s: Tensor, *_: Any) -> Any:
    return empty_map(v, v.dtype), *empty_statistics(v, s.shape[1], arithmetic_dtype(v, s))


def _regional_norm_backward(grad: Tensor, *arguments: Any) -> list[Tensor]:
    """The gradients of v, s, weight and bias, empty where not needed."""
    v, s, weight, bias, eps, statistics, needed = arguments
    dtype, n = arithmetic_dtype(v, s), s.shape[1]
    flat = flattened(storable(v, dtype))
    layout, upstream = (flattened(storable(t, dtype), flat) for t in (s, grad))
    problem = Problem(flat, layout, Statistics(*statistics), weight, bias, eps, grad=upstream)
    problem.d_features = empty_map(flat, flat.dtype) if needed[0] else None
    problem.d_layout = empty_map(layout, layout.dtype) if needed[1] else None
    problem.d_weight, problem.d_bias = (
        v.new_zeros((n, v.shape[1]), dtype=dtype) if need else None for need in needed[2:]
    )
    kernel_of(v).backward(problem)
    found = problem.d_features, problem.d_layout, problem.d_weight, problem.d_bias
    return like(arguments[:4], found, needed)


def _plain_regional_norm(v: Tensor, s: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    from attnorm.layers.regional_norm import normalize  # which imports this module

    return normalize(v, s, weight, bias, eps=eps).to(v.dtype)


register(
    "regional_norm",
    "Tensor v, Tensor s, Tensor? weight, Tensor? bias",
    "float eps",
    5,
    forward=_regional_norm,
    fake=_fake_regional_norm,
    backward=_regional_norm_backward,
    plain=_plain_regional_norm,
)


# ---- attentive_norm: the layer ----


class Inputs(NamedTuple):
    """The tensors of a call; the last six are None without sampling. Weight and bias are in the computation's dtype and
    multiplied by rho, as eq. 5 is linear in them."""

    x: Tensor  # (b, c, h, w)
    value: Tensor  # (c, c, 1, 1), in the dtype of its product with x: autocast's under autocast
    entities: Tensor  # (n, c, 1, 1)
    weight: Tensor  # (n, c)
    bias: Tensor | None  # (n, c), or None for 0
    key: Tensor | None = None  # (k, c, 1, 1)
    key_bias: Tensor | None = None  # (k,)
    query: Tensor | None = None  # (k, c, 1, 1)
    query_bias: Tensor | None = None  # (k,)
    sampling_gain: Tensor | None = None  # (n,)
    positions: Tensor | None = None  # (b, n): of the sampled filters in the pooled map


NAMES = Inputs._fields


def inputs_of(layer: Any, x: Tensor, positions: Tensor | None) -> Inputs:
    """The inputs of a call of an AttentiveNorm2d with x."""
    value, dtype, n = layer.value.weight, arithmetic_dtype(x), layer.num_entities
    rho = layer.residual_gain.to(dtype)
    weight = rho.expand(layer.num_features) if layer.weight is None else rho * layer.weight.to(dtype)
    bias = None if layer.bias is None else per_region(rho * layer.bias.to(dtype), n, dtype)
    value = value.to(autocast_dtype(x) or value.dtype)
    inputs = Inputs(x, value, layer.entities.weight, cast(Tensor, per_region(weight, n, dtype)), bias)
    if positions is None:
        return inputs
    convs = layer.key.weight, layer.key.bias, layer.query.weight, layer.query.bias
    return Inputs(*inputs[:5], *convs, layer.sampling_gain, positions)


def refusal(layer: Any, x: Tensor, *, sampling: bool) -> str | None:
    """Why the operator cannot take a call of an AttentiveNorm2d with x, or None."""
    if layer.statistics != "instance" or layer.variance != "weighted":
        return "it has instance statistics and weighted variances only"
    plain = _is_plain(layer.value, bias=False) and _is_plain(layer.entities, bias=False)
    if sampling:
        plain = plain and _is_plain(layer.key, bias=True) and _is_plain(layer.query, bias=True)
    if not plain:
        return "a convolution of the layer is wrapped, hooked or replaced"
    product, dtype = autocast_dtype(x), layer.sampling_gain.dtype
    if product is None and x.dtype != dtype:
        return f"{x.dtype} features do not fit {dtype} weights"
    if product == torch.float16 and x.device.type == "cpu":
        return "it has no products in float16 on a CPU"
    return automatic_refusal(x, product or x.dtype, [*layer.parameters()], layer.num_entities)


def _is_plain(conv: nn.Module, *, bias: bool) -> bool:
    """Whether a call of this convolution is its product with `weight`, parametrized or not, plus its bias if any."""
    return (
        isinstance(conv, nn.Conv2d)
        and type(conv).forward is nn.Conv2d.forward
        and type(conv)._conv_forward is nn.Conv2d._conv_forward
        and "forward" not in conv.__dict__
        and not (conv._forward_hooks or conv._forward_pre_hooks or conv._backward_hooks or conv._backward_pre_hooks)
        and not (nn.modules.module._global_forward_hooks or nn.modules.module._global_forward_pre_hooks)
        and not (nn.modules.module._global_backward_hooks or nn.modules.module._global_backward_pre_hooks)
        and (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((1, 1), (1, 1), (0, 0), 1)
        and (conv.bias is not None) == bias
    )


def attentive_norm(inputs: Inputs, pool_size: int, temperature: float, eps: float) -> Tensor:
    """The output of the layer, in the shape, dtype and memory format of x; `refusal` must have been None."""
    return cast(Tensor, torch.ops.attnorm.attentive_norm(*inputs, pool_size, temperature, eps)[0])


def _attentive_norm(*arguments: Any) -> Any:
    """The output, the statistics, and for many channels values and logits: see `_fake_attentive_norm`."""
    inputs, (pool_size, temperature, eps) = Inputs(*arguments[:-3]), arguments[-3:]
    x, kernel = inputs.x, kernel_of(inputs.x)
    with without_autocast(x):
        value, flat, (matrix, offset, _) = inputs.value.flatten(1), flattened(x), _logit_matrix(inputs, pool_size)
        out, statistics = empty_map(x, x.dtype), empty_statistics(x, matrix.shape[-2], matrix.dtype)
        projection, products = None, (x.new_empty(0), x.new_empty(0))
        if _is_projected(x):
            projection = _stacked(value, matrix, matrix.dtype)
        elif _is_joint(x, value.dtype):
            products = multiply(flat, _stacked(value, matrix, value.dtype)), x.new_empty(0)
        else:
            products = multiply(flat.to(value.dtype), value), kernel.float32_logits(flat, matrix)
        features, logits = _features_and_logits(flat, *products)
        if logits is not None and offset is not None:
            logits += offset.unsqueeze(2)
            offset = None
        problem = Problem(features, logits, statistics, inputs.weight, inputs.bias, eps, temperature)
        problem.offset, problem.projection = offset, projection
        problem.residual, problem.out = flat, flattened(out)
        kernel.forward(problem)
    return out, *statistics, *products


def _fake_attentive_norm(x: Tensor, value: Tensor, entities: Tensor, *_: Any) -> Any:
    """For many channels the values and logits side by side, or where their dtypes differ one map each."""
    (c, n), flat = (x.shape[1], entities.shape[0]), x.flatten(2)
    results = empty_map(x, x.dtype), *empty_statistics(x, n, arithmetic_dtype(x))
    if _is_projected(x):
        return *results, x.new_empty(0), x.new_empty(0)
    if _is_joint(x, value.dtype):
        return *results, empty_map(flat, value.dtype, c + n), x.new_empty(0)
    return *results, empty_map(flat, value.dtype), empty_map(flat, torch.float32, n)


def _attentive_norm_backward(grad: Tensor, *arguments: Any) -> list[Tensor]:
    """The gradients of all `Inputs`, empty where not needed."""
    inputs, (pool_size, temperature, eps, saved, needed) = Inputs(*arguments[:-5]), arguments[-5:]
    need, x, kernel = dict(zip(NAMES, needed, strict=True)), inputs.x, kernel_of(inputs.x)
    with without_autocast(x):
        value, flat, (matrix, offset, sampled) = inputs.value.flatten(1), flattened(x), _logit_matrix(inputs, pool_size)
        dtype, (b, c), n, upstream = matrix.dtype, x.shape[:2], matrix.shape[-2], flattened(grad, flat)
        features, logits = _features_and_logits(flat, *saved[4:])
        problem = Problem(features, logits, Statistics(*saved[:4]), inputs.weight, inputs.bias, eps, temperature)
        problem.grad, problem.d_weight = upstream, torch.zeros_like(inputs.weight)
        problem.d_bias = None if inputs.bias is None else torch.zeros_like(inputs.bias)
        d_x = None
        if logits is None:
            problem.offset, problem.projection = offset, _stacked(value, matrix, dtype)
            d_x = empty_map(x, x.dtype) if need["x"] else None
            problem.d_features = None if d_x is None else flattened(d_x)
            d_projection = problem.d_projection = x.new_empty((b, c + n, c), dtype=dtype)
            d_offset = problem.d_offset = x.new_empty((b, n), dtype=dtype)
            kernel.backward(problem)
        else:
            # Gradients of values and logits have one dtype, so that one product takes both.
            d_joint = empty_map(flat, value.dtype, c + n)
            problem.d_features, problem.d_layout = d_joint[:, :c], d_joint[:, c:]
            kernel.backward(problem)
            if need["x"]:
                product = multiply(d_joint, _stacked(value, matrix, value.dtype).transpose(-2, -1))
                d_x = product.to(grad.dtype).add_(upstream).unflatten(2, x.shape[2:])
            d_projection = torch.bmm(d_joint, flat.to(value.dtype).transpose(1, 2))
            d_offset = d_joint[:, c:].sum(2, dtype=dtype)
        d_matrix = d_projection[:, c:].to(dtype)
        found = {"x": d_x, "value": d_projection[:, :c].sum(0, dtype=dtype), "entities": d_matrix.sum(0)}
        found |= {"weight": problem.d_weight, "bias": problem.d_bias}
        if sampled is not None:
            found |= dict(zip(NAMES[5:-1], sampling_gradients(*sampled, d_matrix, d_offset, d_x), strict=True))
    return like(inputs, [found.get(name) for name in NAMES], needed)


def plain_attentive_norm(*arguments: Any) -> Tensor:
    from attnorm.layers.attentive_norm import semantic_layout  # which imports this module
    from attnorm.layers.regional_norm import normalize

    def conv(weight: Tensor | None, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
        return lambda x: F.conv2d(x, cast(Tensor, weight), bias)

    x, value, entities, weight, bias, key, key_bias, query, query_bias, gain, positions = arguments[:-3]
    pool_size, temperature, eps = arguments[-3:]
    with without_autocast(x):
        convs = conv(entities), conv(key, key_bias), conv(query, query_bias)
        s = semantic_layout(x.to(entities.dtype), *convs, gain, positions, pool_size, temperature)
        normalized = normalize(F.conv2d(x.to(value.dtype), value), s, weight, bias, eps=eps)
        return (x + normalized).to(x.dtype)


register(
    "attentive_norm",
    ", ".join(f"Tensor{'' if index < 4 else '?'} {name}" for index, name in enumerate(NAMES)),
    "int pool_size, float temperature, float eps",
    7,
    forward=_attentive_norm,
    fake=_fake_attentive_norm,
    backward=_attentive_norm_backward,
    plain=plain_attentive_norm,
)


def _logit_matrix(inputs: Inputs, pool_size: int) -> tuple[Tensor, Tensor | None, tuple[Sampling, Keys] | None]:
    """The matrix of the logits (n, c), or (b, n, c) with sampling, their offset (b, n), and what the gradients of
    sampling need; in the dtype of the computation."""
    dtype = inputs.weight.dtype
    entities = inputs.entities.flatten(1).to(dtype)
    if inputs.positions is None:
        return entities, None, None
    given = cast(tuple[Tensor, ...], inputs[5:10])
    sampling = Sampling(*(t.flatten(1).to(dtype) if t.ndim == 4 else t.to(dtype) for t in given))
    matrix, offset, keys = sample_filters(inputs.x, entities, sampling, inputs.positions, pool_size)
    return matrix, offset.contiguous(), (sampling, keys)


def _is_projected(x: Tensor) -> bool:
    """Whether the kernel computes values and logits itself, and stores neither."""
    return bool(x.shape[1] <= kernel_of(x).PROJECTED_CHANNELS)


def _is_joint(x: Tensor, product: torch.dtype) -> bool:
    """Whether one product gives values and logits, which are never rounded to half precision."""
    return product == x.dtype == arithmetic_dtype(x)


def _features_and_logits(flat: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor | None]:
    """The maps of a problem, from x and the last two results of the operator."""
    if first.numel() == 0:
        return flat, None
    return (first, second) if second.numel() else (first[:, : flat.shape[1]], first[:, flat.shape[1] :])


def _stacked(value: Tensor, matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The matrix of both products, (c + n, c), or (b, c + n, c) where each image has its own logits."""
    return torch.cat([value.to(dtype).expand(*matrix.shape[:-2], -1, -1), matrix.to(dtype)], dim=-2)
