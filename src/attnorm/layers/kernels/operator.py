"""AttentiveNorm2d as one operator of PyTorch, and its inner half `regional_norm`: results, shapes and gradients.

`torch.ops.attnorm.attentive_norm` computes the layer's output from x and its weights. The device's kernel works on the
maps; `filters` computes the small matrices of the sampled filters. The backward pass keeps x, the statistics of the
regions, these matrices, and for many channels the projected values and logits.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnorm.layers.context import autocast_dtype, without_autocast
from attnorm.layers.kernels.filters import NAMES, Inputs, Sampled, as_matrices, sample_filters, sampling_gradients
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


def _attentive_norm(*arguments: Any) -> Any:
    """The output and what the backward pass needs: see `_fake_attentive_norm`."""
    *tensors, pool_size, temperature, eps = arguments
    x, kernel = tensors[0], kernel_of(tensors[0])
    with without_autocast(x):
        inputs, flat = as_matrices(tensors), flattened(x)
        value, sampled = inputs.value, sample_filters(inputs, pool_size)
        matrix, offset = (inputs.entities, None) if sampled is None else sampled[:2]
        out, statistics = empty_map(x, x.dtype), empty_statistics(x, matrix.shape[-2], matrix.dtype)
        projection, saved = None, [x.new_empty(0) for _ in range(7)]
        if sampled is not None:
            saved[2:] = sampled
        if _is_projected(x):
            projection = _stacked(value, matrix, matrix.dtype)
        elif _is_joint(x, value.dtype):
            saved[0] = multiply(flat, _stacked(value, matrix, value.dtype))
        else:
            saved[:2] = multiply(flat.to(value.dtype), value), kernel.float32_logits(flat, matrix)
        features, logits = _features_and_logits(flat, *saved[:2])
        if logits is not None and offset is not None:
            logits += offset.unsqueeze(2)
            offset = None
        problem = Problem(features, logits, statistics, inputs.weight, inputs.bias, eps, temperature)
        problem.offset, problem.projection = offset, projection
        problem.residual, problem.out = flat, flattened(out)
        kernel.forward(problem)
    return out, *statistics, *saved


def _fake_attentive_norm(*arguments: Any) -> Any:
    """The output, the statistics, two products and `Sampled`; what is not needed is empty. The products are, for many
    channels, values and logits side by side, or where their dtypes differ one map each."""
    inputs, pool_size = Inputs(*arguments[:-3]), arguments[-3]
    x, product, dtype, (n, c) = inputs.x, inputs.value.dtype, inputs.weight.dtype, inputs.entities.shape[:2]
    flat, saved = x.flatten(2), [x.new_empty(0) for _ in range(7)]
    if _is_joint(x, product) and not _is_projected(x):
        saved[0] = empty_map(flat, product, c + n)
    elif not _is_projected(x):
        saved[:2] = empty_map(flat, product), empty_map(flat, torch.float32, n)
    if inputs.key is not None:
        b, k = x.shape[0], inputs.key.shape[0]
        saved[2:5] = (x.new_empty(shape, dtype=dtype) for shape in ((b, n, c), (b, n), (b, n, k)))
        saved[5:] = (x.new_empty(shape, dtype=torch.int64) for shape in ((b, n * pool_size**2), (b, n, k)))
    return empty_map(x, x.dtype), *empty_statistics(x, n, dtype), *saved


def _attentive_norm_backward(grad: Tensor, *arguments: Any) -> list[Tensor]:
    """The gradients of all `Inputs`, empty where not needed."""
    *tensors, _, temperature, eps, saved, needed = arguments
    need, x, kernel = dict(zip(NAMES, needed, strict=True)), tensors[0], kernel_of(tensors[0])
    with without_autocast(x):
        inputs, flat = as_matrices(tensors), flattened(x)
        value, dtype, sampled = inputs.value, inputs.weight.dtype, None if tensors[-1] is None else Sampled(*saved[6:])
        matrix, offset = (inputs.entities, None) if sampled is None else sampled[:2]
        (b, c), n, upstream = x.shape[:2], matrix.shape[-2], flattened(grad, flat)
        features, logits = _features_and_logits(flat, *saved[4:6])
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
            found |= sampling_gradients(inputs, sampled, d_matrix, d_offset, d_x)
    return like(tensors, [found.get(name) for name in NAMES], needed)


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
    12,
    forward=_attentive_norm,
    fake=_fake_attentive_norm,
    backward=_attentive_norm_backward,
    plain=plain_attentive_norm,
)


def _is_projected(x: Tensor) -> bool:
    """Whether the kernel computes values and logits itself, and stores neither."""
    return bool(x.shape[1] <= kernel_of(x).PROJECTED_CHANNELS)


def _is_joint(x: Tensor, product: torch.dtype) -> bool:
    """Whether one product gives values and logits, which are never rounded to half precision."""
    return product == x.dtype == arithmetic_dtype(x)


def _features_and_logits(flat: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor | None]:
    """The maps of a problem, from x and the operator's two products."""
    if first.numel() == 0:
        return flat, None
    return (first, second) if second.numel() else (first[:, : flat.shape[1]], first[:, flat.shape[1] :])


def _stacked(value: Tensor, matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The matrix of both products, (c + n, c), or (b, c + n, c) where each image has its own logits."""
    return torch.cat([value.to(dtype).expand(*matrix.shape[:-2], -1, -1), matrix.to(dtype)], dim=-2)
