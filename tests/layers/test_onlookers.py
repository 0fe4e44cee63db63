"""The layer and the operator under transforms, dispatch modes and subclasses of Tensor: PyTorch's own operations."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

from attnorm import AttentiveNorm2d, regional_norm
from attnorm.layers import backend_for, backend_refusals
from attnorm.layers.pooling import halved

ORDERS = [torch.contiguous_format, torch.channels_last]


def make_layer() -> AttentiveNorm2d:
    torch.manual_seed(0)
    layer = AttentiveNorm2d(4, 3, spectral_norm=True).double().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return layer


def features(order: torch.memory_format = torch.contiguous_format) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 6, 6, dtype=torch.float64, generator=generator).contiguous(memory_format=order)


def directly(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


@pytest.mark.parametrize("order", ORDERS)
def test_vmap_of_the_layer(order: torch.memory_format) -> None:
    layer, x = make_layer(), features(order)
    torch.testing.assert_close(vmap(lambda image: layer(image[None])[0])(x), layer(x))


@pytest.mark.parametrize("transform", [grad, jacrev, jacfwd])
@pytest.mark.parametrize("order", ORDERS)
def test_derivatives_by_transforms(transform: Callable, order: torch.memory_format) -> None:
    layer, x = make_layer(), features(order)

    def function(t: Tensor) -> Tensor:
        return halved(layer(t)).sin().sum()

    torch.testing.assert_close(transform(function)(x), directly(function, x))


def test_forward_mode_differentiation() -> None:
    layer, x = make_layer(), features()
    tangent = torch.randn_like(x)

    def function(t: Tensor) -> Tensor:
        return layer(t).sin().sum()

    expected = (directly(function, x) * tangent).sum()
    torch.testing.assert_close(jvp(function, (x,), (tangent,))[1], expected)
    with forward_ad.dual_level():
        out = function(forward_ad.make_dual(x, tangent))
        torch.testing.assert_close(forward_ad.unpack_dual(out).tangent, expected)


def test_gradients_of_each_image_by_themselves() -> None:
    layer, x = make_layer(), features()
    parameters = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(given: dict[str, Tensor], image: Tensor) -> Tensor:
        return functional_call(layer, given, (image[None],)).sin().sum()

    found = vmap(grad(loss), (None, 0))(parameters, x)
    for index, image in enumerate(x):
        layer.zero_grad()
        layer(image[None]).sin().sum().backward()
        for name, parameter in layer.named_parameters():
            if parameter.grad is not None:
                torch.testing.assert_close(found[name][index], parameter.grad)


def test_self_sampling_and_autocast_under_vmap() -> None:
    layer, x = make_layer().float(), features().float()
    for norm in (module for module in layer.modules() if hasattr(module, "parametrizations")):
        norm.eval()
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(x)
        found = vmap(lambda image: layer(image[None])[0])(x)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
    layer = AttentiveNorm2d(4, 3).train()
    assert vmap(lambda image: layer(image[None])[0], randomness="different")(x).shape == x.shape


def test_a_backend_of_its_own_refuses_transforms() -> None:
    v, s = features(), torch.rand(2, 3, 6, 6, dtype=torch.float64).softmax(1)

    def asked(t: Tensor) -> Tensor:
        refusals = backend_refusals(t, s)
        assert all("torch.func" in refusals[name] for name in ("cpp", "eager", "triton"))
        assert refusals["composed"] is None
        assert backend_for(t, s) == "composed"
        with pytest.raises(ValueError, match=r"'eager' cannot run this call: it has no rule for transforms"):
            regional_norm(t, s, backend="eager")
        return regional_norm(t, s).sum()

    torch.testing.assert_close(grad(asked)(v), directly(lambda t: regional_norm(t, s).sum(), v))


@pytest.mark.parametrize("training", [True, False])
def test_fake_tensors(training: bool) -> None:
    with FakeTensorMode():
        layer = AttentiveNorm2d(4, 3).train(training)
        x = torch.randn(2, 4, 6, 6, requires_grad=True)
        out = layer(x)
        out.sum().backward()
    assert out.shape == x.grad.shape == (2, 4, 6, 6)
    assert type(out) is not Tensor


def test_a_recorded_graph_is_the_layer_on_other_features_too() -> None:
    layer, x = make_layer(), features()
    graph = make_fx(lambda t: layer(t))(x)
    other = torch.randn_like(x)
    torch.testing.assert_close(graph(other), layer(other))


def test_a_counter_of_operations_sees_the_products() -> None:
    layer = AttentiveNorm2d(32, 16).eval()
    with FlopCounterMode(display=False) as counter:
        layer(torch.randn(1, 32, 8, 8))
    assert counter.get_total_flops() >= 2 * 32 * (32 + 16) * 64


def test_a_subclass_of_tensor_sees_the_operations() -> None:
    seen = set()

    class Logged(Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), options=None):
            seen.add(function.__name__)
            return super().__torch_function__(function, types, arguments, options or {})

    layer, x = make_layer(), features()
    found = layer(x.as_subclass(Logged))
    torch.testing.assert_close(found.as_subclass(Tensor), layer(x))
    assert "bmm" in seen


def test_networks_of_other_layers_are_not_disturbed() -> None:
    """The layer in the middle of a network, all of which is transformed."""
    net = nn.Sequential(nn.Conv2d(4, 4, 1), make_layer().float(), nn.ReLU()).eval()
    x = features().float()
    torch.testing.assert_close(vmap(lambda image: net(image[None])[0])(x), net(x))
