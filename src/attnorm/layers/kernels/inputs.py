"""The layer as its operator takes it: the tensors of a call, and where the layer in plain PyTorch must run instead."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attnorm.layers.context import autocast_dtype
from attnorm.layers.kernels import registry


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


def inputs_of(layer: Any, x: Tensor, positions: Tensor | None) -> Inputs:
    """The inputs of a call of an AttentiveNorm2d with x."""
    value = layer.value.weight
    value = value.to(autocast_dtype(x) or value.dtype)
    inputs = Inputs(x, value, layer.entities.weight, layer.residual_gain, layer.weight, layer.bias)
    if positions is None:
        return inputs
    convs = layer.key.weight, layer.key.bias, layer.query.weight, layer.query.bias
    return Inputs(*inputs[:6], *convs, layer.sampling_gain, positions)


def refusal(layer: Any, x: Tensor, *, sampling: bool) -> str | None:
    """Why the operator cannot take a call of an AttentiveNorm2d with x, or None."""
    if layer.statistics != "instance" or layer.variance != "weighted":
        return "it has instance statistics and weighted variances alone"
    plain = _is_plain(layer.value, bias=False) and _is_plain(layer.entities, bias=False)
    if sampling:
        plain = plain and _is_plain(layer.key, bias=True) and _is_plain(layer.query, bias=True)
    if not plain:
        return "a convolution of the layer is wrapped, hooked or replaced"
    product, dtype = autocast_dtype(x), layer.sampling_gain.dtype
    if product is None and x.dtype != dtype:
        return f"{x.dtype} features do not go with {dtype} weights"
    if product == torch.float16 and x.device.type == "cpu":
        return "it has no products in float16 on a CPU"
    return registry.automatic_refusal(x, product or x.dtype, [*layer.parameters()], layer.num_entities)


def _is_plain(conv: nn.Module, *, bias: bool) -> bool:
    """Whether a call of this convolution is its product with `weight`, parametrized or not, plus its bias if any."""
    return (
        isinstance(conv, nn.Conv2d)
        and type(conv).forward is nn.Conv2d.forward
        and type(conv)._conv_forward is nn.Conv2d._conv_forward
        and "forward" not in conv.__dict__
        and not (conv._forward_hooks or conv._forward_pre_hooks or conv._backward_hooks or conv._backward_pre_hooks)
        and (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((1, 1), (1, 1), (0, 0), 1)
        and (conv.bias is not None) == bias
    )
