"""The C++ backend against the literal formulas, where its code has branches: shapes, orders in memory, dtypes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from attnorm.layers import regional_norm
from attnorm.layers.kernels import composed, cpp
from attnorm.layers.regional_norm import regional_norm_with_moments
from tests.layers import literal

pytestmark = pytest.mark.usefixtures("cpp_library")
Operands = tuple[Tensor, Tensor, Tensor, Tensor]


def operands(b: int, c: int, n: int, h: int, w: int, mean: float = 0.0) -> Operands:
    """v, logits, weight and bias in float64."""
    generator = torch.Generator().manual_seed(b + 10 * c + 100 * n + h * w)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return normal(b, c, h, w) + mean, 2 * normal(b, n, h, w), normal(n, c), normal(n, c)


def results(
    tensors: Operands, backend: str, *, temperature: float | None = None, residual: Tensor | None = None
) -> list[Tensor]:
    """The output and the gradients of v, s, weight and bias."""
    leaves = [t.detach().clone(memory_format=torch.preserve_format).requires_grad_() for t in tensors]
    if backend == "literal":
        s = leaves[1] if temperature is None else (temperature * leaves[1]).softmax(1)
        out = literal.regional_norm(leaves[0], s, leaves[2], leaves[3], "weighted")
        out = out if residual is None else out + residual.double()
    else:
        out, _ = regional_norm_with_moments(*leaves, backend=backend, temperature=temperature, residual=residual)
    upstream = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
    return [out, *torch.autograd.grad(out, leaves, upstream.to(out.dtype))]


def assert_as_good_as_eager(found: list[Tensor], eager: list[Tensor], exact: list[Tensor]) -> None:
    """Twice the error of the eager backend in the same dtypes, or a thousand roundings of float32."""
    for ours, theirs, truth in zip(found, eager, exact, strict=True):
        scale = truth.abs().max().item()
        bound = 2 * (theirs.double() - truth).abs().max().item() + 1e-4 * scale + 1e-6
        assert (ours.double() - truth).abs().max().item() <= bound


@pytest.mark.parametrize("n", [*range(1, 18), 31, 32, 33])
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_number_of_regions(n: int, channels_last: bool) -> None:
    tensors = operands(2, 5, n, 9, 7)
    exact = results(tensors, "literal", temperature=0.7)
    if channels_last:
        tensors = tuple(t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for t in tensors)  # type: ignore[assignment]
    for ours, truth in zip(results(tensors, "cpp", temperature=0.7), exact, strict=True):
        torch.testing.assert_close(ours, truth, rtol=1e-9, atol=1e-9)


SHAPES = [
    (1, 1, 1, 1, 1),
    (1, 2, 3, 1, 1),
    (3, 1, 4, 5, 3),
    (2, 16, 16, 8, 8),  # whole vectors
    (2, 33, 17, 13, 11),
    (1, 64, 16, 32, 32),
    (3, 7, 5, 40, 40),  # several tiles, more images than one thread's share
    (1, 3, 2, 200, 210),  # several tiles a chunk
    (4, 160, 9, 24, 24),  # images too large to stay in the cache
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("channels_last", "dtype"), list(itertools.product([False, True], [torch.float32, torch.bfloat16]))
)
def test_shapes_orders_and_dtypes(shape: tuple[int, ...], channels_last: bool, dtype: torch.dtype) -> None:
    v, logits, weight, bias = operands(*shape)
    order = torch.channels_last if channels_last else torch.contiguous_format
    maps = (t.to(dtype).contiguous(memory_format=order) for t in (v, logits))
    low: Operands = (*maps, weight.float(), bias.float())  # type: ignore[assignment]
    exact = results(tuple(t.double() for t in low), "literal", temperature=0.7)  # type: ignore[arg-type]
    found, eager = (results(low, backend, temperature=0.7) for backend in ("cpp", "eager"))
    assert [t.dtype for t in found] == [dtype, dtype, dtype, torch.float32, torch.float32]
    if shape[3] * shape[4] > 1:  # a map of one pixel has no deviation: its gradients are those of rounding errors
        assert_as_good_as_eager(found, eager, exact)
    if channels_last and min(shape[1:]) > 1:
        assert found[0].is_contiguous(memory_format=torch.channels_last)
        assert found[1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(4, 33, 16, 16, 16), (1, 8, 16, 96, 96), (2, 3, 5, 30, 31)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_threads_changes_no_bit(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    v, logits, weight, bias = operands(*shape)
    tensors: Operands = (v.to(dtype), logits.to(dtype), weight.float(), bias.float())
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(results(tensors, "cpp", temperature=1.0))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("mean", [100.0, 1000.0])
@pytest.mark.parametrize("channels_last", [False, True])
def test_large_means(mean: float, channels_last: bool) -> None:
    order = torch.channels_last if channels_last else torch.contiguous_format
    v, logits, weight, bias = operands(2, 6, 5, 48, 48, mean=mean)
    low: Operands = (v.float().contiguous(memory_format=order), logits.float(), weight.float(), bias.float())
    exact = results(tuple(t.double() for t in low), "literal", temperature=1.0)  # type: ignore[arg-type]
    for ours, truth in zip(results(low, "cpp", temperature=1.0), exact, strict=True):
        assert (ours.double() - truth).abs().max() < 2e-4 * truth.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_residual_is_added_before_rounding(dtype: torch.dtype, channels_last: bool) -> None:
    order = torch.channels_last if channels_last else torch.contiguous_format
    v, logits, weight, bias = operands(2, 35, 6, 9, 13)
    x = torch.randn(v.shape).contiguous(memory_format=order)
    low: Operands = (v.to(dtype).contiguous(memory_format=order), logits.to(dtype), weight.float(), bias.float())
    exact = results(tuple(t.double() for t in low), "literal", temperature=1.0, residual=x)  # type: ignore[arg-type]
    found = results(low, "cpp", temperature=1.0, residual=x)
    assert found[0].dtype == torch.float32
    torch.testing.assert_close(found[0].double(), exact[0], rtol=1e-4, atol=1e-4)


def test_a_residual_in_the_other_order_and_its_gradient() -> None:
    v, logits, weight, bias = operands(2, 6, 5, 7, 9)
    x = torch.randn(v.shape, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    out, _ = regional_norm_with_moments(v, logits, weight, bias, backend="cpp", temperature=1.0, residual=x)
    plain, _ = regional_norm_with_moments(v, logits, weight, bias, backend="cpp", temperature=1.0)
    torch.testing.assert_close(out, plain + x)
    upstream = torch.randn_like(out)
    assert torch.equal(torch.autograd.grad(out, x, upstream)[0], upstream)


def test_maps_that_are_slices_of_one_tensor() -> None:
    """What a joint projection gives: strides that belong to neither memory format."""
    v, logits, weight, bias = operands(2, 6, 5, 7, 9)
    expected = regional_norm(v, logits.softmax(1), weight, bias)
    joint = torch.cat([v, logits.softmax(1)], dim=1)
    for order in (torch.contiguous_format, torch.channels_last):
        parts = joint.contiguous(memory_format=order).split((6, 5), dim=1)
        torch.testing.assert_close(regional_norm(*parts, weight, bias, backend="cpp"), expected)
    every_second = torch.zeros(2, 6, 7, 18, dtype=v.dtype)
    every_second[..., ::2] = v
    torch.testing.assert_close(
        regional_norm(every_second[..., ::2], logits.softmax(1), weight, bias, backend="cpp"), expected
    )


def test_upstream_gradients_that_are_expanded_or_in_the_other_order() -> None:
    v, logits, _, _ = operands(2, 6, 5, 7, 9)
    v.requires_grad_()
    out = regional_norm(v, logits.softmax(1), backend="cpp")
    expected = regional_norm(v, logits.softmax(1), backend="eager")
    for upstream in (torch.ones((), dtype=v.dtype).expand(v.shape), v.detach().to(memory_format=torch.channels_last)):
        found, wanted = (torch.autograd.grad(o, v, upstream, retain_graph=True)[0] for o in (out, expected))
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("needed", list(itertools.product([False, True], repeat=4))[1:])
def test_only_the_gradients_that_are_needed(needed: tuple[bool, ...]) -> None:
    tensors = operands(2, 3, 4, 5, 6)
    expected = results(tensors, "literal", temperature=1.0)[1:]
    leaves = [t.requires_grad_(need) for t, need in zip(tensors, needed, strict=True)]
    out, _ = regional_norm_with_moments(*leaves, backend="cpp", temperature=1.0)
    out.backward(torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape))
    for leaf, wanted, need in zip(leaves, expected, needed, strict=True):
        if need:
            torch.testing.assert_close(leaf.grad, wanted, rtol=1e-9, atol=1e-9)
        else:
            assert leaf.grad is None


def test_second_derivatives_from_logits_with_a_residual() -> None:
    v, logits, weight, bias = operands(1, 2, 3, 2, 3)
    inputs = tuple(t.requires_grad_() for t in (v, logits, weight, bias, torch.randn_like(v)))

    def function(*args: Tensor) -> Tensor:
        return regional_norm_with_moments(*args[:4], backend="cpp", temperature=0.5, residual=args[4])[0]

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_the_moments_are_those_of_the_composed_form() -> None:
    v, logits, _, _ = operands(2, 5, 6, 8, 9, mean=3.0)
    _, found = regional_norm_with_moments(v, logits.softmax(1), backend="cpp")
    _, wanted = regional_norm_with_moments(v, logits.softmax(1), backend="composed")
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
        assert not ours.requires_grad


@pytest.mark.parametrize("dtypes", list(itertools.product([torch.float64, torch.float32, torch.bfloat16], repeat=2)))
def test_mixed_dtypes(dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    v, logits, weight, bias = operands(2, 5, 4, 8, 9)
    v, s = v.to(dtypes[0]), logits.softmax(1).to(dtypes[1])
    found, wanted = (regional_norm(v, s, weight, bias, backend=backend) for backend in ("cpp", "composed"))
    assert found.dtype == v.dtype
    torch.testing.assert_close(found, wanted, rtol=1e-2 if torch.bfloat16 in dtypes else 1e-5, atol=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_finite_is_not_hidden(value: float, dtype: torch.dtype) -> None:
    """One bad pixel of one channel and image spoils that channel of that image, and no other."""
    v, logits, _, _ = operands(2, 3, 4, 8, 8)
    v[0, 1, 2, 3] = value
    out = regional_norm(v.to(dtype), logits.softmax(1).to(dtype), backend="cpp")
    assert not torch.isfinite(out[0, 1]).any()
    assert torch.isfinite(out[0, 0]).all()
    assert torch.isfinite(out[1]).all()


def test_logits_far_apart() -> None:
    """A softmax that is 0 or 1 to the last digit."""
    v, logits, _, _ = operands(1, 4, 5, 16, 16)
    low, far = v.float(), (1e4 * logits).float()
    out, _ = regional_norm_with_moments(low, far, backend="cpp", temperature=1.0)
    wanted, _ = regional_norm_with_moments(low.double(), far.double(), backend="composed", temperature=1.0)
    torch.testing.assert_close(out.double(), wanted, rtol=1e-4, atol=1e-4)


def test_an_empty_batch() -> None:
    v, s = torch.empty(0, 3, 4, 4, requires_grad=True), torch.empty(0, 2, 4, 4)
    weight = torch.ones(2, 3, requires_grad=True)
    regional_norm(v, s, weight, backend="cpp").sum().backward()
    assert v.grad.shape == v.shape
    assert torch.equal(weight.grad, torch.zeros(2, 3))


def test_results_large_enough_for_huge_pages() -> None:
    v, logits = torch.randn(1, 9, 1024, 1024), torch.randn(1, 2, 1024, 1024)
    out, _ = regional_norm_with_moments(v, logits, backend="cpp", temperature=1.0)
    wanted, _ = regional_norm_with_moments(v, logits, backend="composed", temperature=1.0)
    torch.testing.assert_close(out, wanted, rtol=1e-3, atol=1e-3)


def test_the_operators_keep_pytorchs_rules() -> None:
    v, logits, weight, bias = (t.float().requires_grad_() for t in operands(2, 3, 4, 5, 6))
    maps = (t.to(memory_format=torch.channels_last).flatten(2) for t in (v, logits))
    torch.library.opcheck(cpp._forward, (*maps, weight, bias, None, 0.7, 1e-5))
    maps = (t.detach().flatten(2) for t in (v, v, logits))
    small = (t.fill_(1) for t in cpp.empty_moments(v.flatten(2), logits.flatten(2)))
    arguments = (*maps, weight.detach(), None, *small, 0.7, 1e-5, [True, True, True, False])
    torch.library.opcheck(cpp._backward, arguments)


def test_torch_compile_calls_the_operator_and_looks_not_inside() -> None:
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    v, logits, weight, bias = operands(2, 3, 4, 5, 6)
    torch._dynamo.reset()
    out = torch.compile(regional_norm, fullgraph=True, backend=keep)(v, logits.softmax(1), weight, bias)
    torch.testing.assert_close(out, regional_norm(v, logits.softmax(1), weight, bias))
    assert len(graphs) == 1
    assert "attnorm.regional_norm" in str(graphs[0].graph)


def test_a_float32_exponential_good_to_the_last_digits() -> None:
    """The softmax of two logits, x and 0, over the range in which it is not 0 or 1."""
    x = torch.linspace(-80, 0, 4096).view(1, 1, 64, 64)
    logits = torch.cat([x, torch.zeros_like(x)], dim=1)
    _, found = regional_norm_with_moments(torch.ones(1, 1, 64, 64), logits, backend="cpp", temperature=1.0)
    expected = composed.layout_of(logits, 1.0, torch.float64).sum((2, 3))
    torch.testing.assert_close(found.mass.squeeze(1).double(), expected, rtol=1e-6, atol=0)
