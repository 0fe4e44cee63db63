"""The quicker average is the average, to the last bit, in both passes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from attnorm.layers.pooling import halved


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(8, 6), (2, 2), (7, 5)])
def test_values_and_gradients_are_those_of_pytorch(
    size: tuple[int, int], order: torch.memory_format, dtype: torch.dtype
) -> None:
    x = torch.randn(3, 4, *size).to(dtype).contiguous(memory_format=order).requires_grad_()
    found, wanted = halved(x), functional.avg_pool2d(x, 2)
    assert torch.equal(found, wanted)
    upstream = torch.randn_like(wanted)
    gradient = torch.autograd.grad(found, x, upstream)[0]
    assert torch.equal(gradient, torch.autograd.grad(wanted, x, upstream)[0])
    assert gradient.is_contiguous(memory_format=order)
    with torch.no_grad():
        assert torch.equal(halved(x), wanted)


def test_first_and_second_derivatives() -> None:
    x = torch.randn(1, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(halved, x)
    assert torch.autograd.gradgradcheck(lambda t: halved(t * t), x)
