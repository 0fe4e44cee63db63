"""Halving a map by averaging."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from attnorm.layers.context import is_transformed


def halved(x: Tensor) -> Tensor:
    """`avg_pool2d(x, 2)` for x (b, c, h, w) with even h and w, to the last bit, and with a quicker backward pass.

    PyTorch's fills the gradient with zeros and adds to it pixel by pixel; without overlap it is the upstream gradient,
    a quarter of it, repeated.
    """
    plain = x.shape[2] % 2 or x.shape[3] % 2 or not torch.is_grad_enabled()
    if plain or torch.compiler.is_compiling() or is_transformed():
        return functional.avg_pool2d(x, 2)
    out: Tensor = _Halved.apply(x)
    return out


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        return functional.interpolate(grads[0] * 0.25, scale_factor=2, mode="nearest")
