"""What attentive normalization costs at least: its multiplications alone, as one product of the fastest shape."""

from __future__ import annotations

from typing import Literal

import torch

from attnorm.bench import Call

# "forward" has no gradients, "frozen" those of the input alone, "training" those of the weights too.
Mode = Literal["forward", "frozen", "training"]
SIDE = 512  # of the square matrix; products with the layer's thin ones are slower than its kernel


def layer_arithmetic(pixels: int, c: int, n: int, mode: Mode, dtype: torch.dtype, inner: torch.dtype) -> Call:
    """As many multiplications as the products of one call of `AttentiveNorm2d`.

    Args:
        pixels: of all images of the batch together.
        c, n: channels and entities.
        dtype: of the convolutions.
        inner: of the layout, of the moments and of what is made of them.
    """
    times = {"forward": 1, "frozen": 2, "training": 3}[mode]  # values and logits, the gradient of x, of the weights
    calls = _product(pixels * c * (c + n) * times, dtype), operator_arithmetic(pixels, c, n, mode, inner)
    return lambda: [call() for call in calls]


def operator_arithmetic(pixels: int, c: int, n: int, mode: Mode, dtype: torch.dtype) -> Call:
    """As many multiplications as the products of one call of `regional_norm`."""
    # Two sums and two factors; then two sums, three factors of the values' gradient and four of the layout's.
    return _product(pixels * c * n * (4 if mode == "forward" else 13), dtype)


def _product(multiplications: int, dtype: torch.dtype) -> Call:
    rows = -(-multiplications // SIDE**2)
    a, b = torch.randn(rows, SIDE).to(dtype), torch.randn(SIDE, SIDE).to(dtype)
    return lambda: torch.mm(a, b)
