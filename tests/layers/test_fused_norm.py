"""The layer as one function against the layer step by step: the same results and gradients, to rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from attnorm import AttentiveNorm2d
from attnorm.layers import fused_norm
from attnorm.layers.kernels import library

pytestmark = pytest.mark.usefixtures("cpp_library")
ORDERS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}


def make_layer(channels: int = 16, entities: int = 5, **options: object) -> AttentiveNorm2d:
    """No parameter at its initial value, so that each one matters."""
    torch.manual_seed(0)
    layer = AttentiveNorm2d(channels, entities, **{"temperature": 0.5, **options})
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def run(layer: AttentiveNorm2d, x: Tensor, *, autocast: bool = False) -> dict[str, Tensor]:
    """The output and the gradients of x and every parameter that has one."""
    layer.zero_grad(set_to_none=True)
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_(x.requires_grad)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = layer(leaf, torch.Generator().manual_seed(3))
    out.backward(torch.linspace(-1, 1, out.numel()).view(out.shape).to(out.dtype))
    found = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    return {"out": out.detach(), **found, **({"x": leaf.grad} if leaf.grad is not None else {})}


def step_by_step(
    monkeypatch: pytest.MonkeyPatch, layer: AttentiveNorm2d, x: Tensor, **options: bool
) -> dict[str, Tensor]:
    with monkeypatch.context() as patched:
        patched.setattr(fused_norm, "refusal", lambda *_: "the test says so")
        patched.setenv("ATTNORM_CPU_KERNEL", "off")
        library.forget()
        found = run(layer, x, **options)
    library.forget()
    return found


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"self_sampling": False},
        {"spectral_norm": True},
        {"affine": "shared"},
        {"affine": "none", "pool_size": 3},
    ],
    ids=str,
)
def test_same_values_and_gradients_in_float64(order: str, options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_layer(**options).double().train()
    x = torch.randn(3, 16, 9, 8, dtype=torch.float64).contiguous(memory_format=ORDERS[order]).requires_grad_()
    found, wanted = run(copy.deepcopy(layer), x), step_by_step(monkeypatch, copy.deepcopy(layer), x)
    assert found.keys() == wanted.keys()
    assert len(found) == 2 + len(list(layer.parameters())) - (0 if layer.self_sampling else 5)
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-8, atol=1e-8, msg=lambda m, name=name: f"{name}: {m}")
    assert found["out"].is_contiguous(memory_format=ORDERS[order])
    assert found["x"].is_contiguous(memory_format=ORDERS[order])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_is_no_worse_than_step_by_step(
    order: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = make_layer(32, 16).train()
    x = torch.randn(4, 32, 16, 16).to(dtype).contiguous(memory_format=ORDERS[order]).requires_grad_()
    exact = step_by_step(monkeypatch, copy.deepcopy(layer).double(), x.detach().double().requires_grad_())
    steps = step_by_step(monkeypatch, copy.deepcopy(layer), x, autocast=True)
    found = run(layer, x, autocast=True)
    assert found["out"].dtype == dtype
    assert found["x"].dtype == dtype
    assert found["x"].is_contiguous(memory_format=ORDERS[order])
    for name, value in found.items():
        bound = 2 * (steps[name].double() - exact[name]).abs().max() + 2e-2 * exact[name].abs().max() + 1e-6
        assert (value.double() - exact[name]).abs().max() <= bound, name


def test_one_large_tensor_is_kept_beside_the_input() -> None:
    layer = make_layer(64, 16).train()
    x = torch.randn(2, 64, 32, 32, requires_grad=True)
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        layer(x)
    large = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in saved if t.numel() > 2 * 64 * 80}
    large.pop(x.untyped_storage().data_ptr())
    assert list(large.values()) == [2 * (64 + 16) * 32 * 32 * 4]


@pytest.mark.parametrize("frozen", ["value", "all", "input"])
def test_what_is_frozen_gets_no_gradient_and_the_rest_is_the_same(frozen: str) -> None:
    layer = make_layer().double().train()
    x = torch.randn(2, 16, 8, 8, dtype=torch.float64, requires_grad=True)
    wanted = run(layer, x)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(frozen == "input" or (frozen == "value" and not name.startswith("value")))
    found = run(layer, x.requires_grad_(frozen != "input"))
    names = set(wanted) - {"value": {"value.weight"}, "input": {"x"}}.get(frozen, set())
    assert set(found) == (names if frozen != "all" else {"out", "x"})
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name])


@pytest.mark.parametrize("order", ORDERS)
def test_second_derivatives(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make_layer(6, 3, spectral_norm=True).double().eval().train()
    x = torch.randn(2, 6, 4, 5, dtype=torch.float64).contiguous(memory_format=ORDERS[order])

    def penalty(layer: AttentiveNorm2d) -> list[Tensor]:
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        (grad,) = torch.autograd.grad(
            layer(leaf, torch.Generator().manual_seed(3)).sin().sum(), leaf, create_graph=True
        )
        return list(torch.autograd.grad(grad.square().sum(), [*layer.parameters(), leaf], allow_unused=True))

    found = penalty(copy.deepcopy(layer))
    monkeypatch.setattr(fused_norm, "refusal", lambda *_: "the test says so")
    for ours, theirs in zip(found, penalty(copy.deepcopy(layer)), strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8)


def test_second_derivatives_under_autocast_are_taken_in_its_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    """They round as those of the layer step by step do, and are nearer to them than those are to float32's."""
    torch.manual_seed(1)
    original, x = make_layer(32, 8).train(), torch.randn(2, 32, 8, 8)

    def second(autocast: bool) -> dict[str, Tensor]:
        layer, leaf = copy.deepcopy(original), x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = layer(leaf, torch.Generator().manual_seed(3))
        (grad,) = torch.autograd.grad(out.square().sum(), leaf, create_graph=True)
        grad.square().sum().backward()
        return {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}

    found = second(autocast=True)
    monkeypatch.setattr(fused_norm, "refusal", lambda *_: "the test says so")
    steps, exact = second(autocast=True), second(autocast=False)
    for name in ("bias", "query.weight", "query.bias"):
        assert (found[name] - steps[name]).norm() < 0.6 * (exact[name] - steps[name]).norm(), name


def test_eval_needs_neither_key_nor_query() -> None:
    layer = make_layer().eval()
    x = torch.randn(2, 16, 8, 8)
    expected = layer(x)
    layer.key = layer.query = None  # type: ignore[assignment]
    assert torch.equal(layer(x), expected)


def test_dtypes_that_do_not_go_together_take_the_other_way() -> None:
    layer, x = make_layer(), torch.randn(2, 16, 8, 8)
    weights, options = layer._weights(layer.weight, layer.bias), fused_norm.Options(1.0, "weighted", 1e-5)
    assert fused_norm.refusal(x, weights, options) is None
    assert "float64" in fused_norm.refusal(x.double(), weights, options)
    assert "float16" in fused_norm.refusal(x.half(), weights, options)
    assert "algorithm1" in fused_norm.refusal(x, weights, options._replace(variance="algorithm1"))
    with torch.autocast("cpu", torch.float16):
        assert "float16" in fused_norm.refusal(x, weights, options)
        assert layer(x).dtype == torch.float32


def test_upstream_gradients_of_another_order_and_an_empty_batch() -> None:
    layer = make_layer().train()
    x = torch.randn(2, 16, 8, 8, requires_grad=True)
    upstream = torch.randn(2, 16, 8, 8)
    generator = torch.Generator()
    first, second = (
        torch.autograd.grad(layer(x, generator.manual_seed(3)), x, grad)[0]
        for grad in (upstream, upstream.to(memory_format=torch.channels_last))
    )
    torch.testing.assert_close(first, second)
    assert layer(torch.empty(0, 16, 8, 8)).shape == (0, 16, 8, 8)
