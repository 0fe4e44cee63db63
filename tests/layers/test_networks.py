"""The layer in the places where people put layers: in-place neighbours, wrapped convolutions, compilers, transforms."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import grad, jacfwd, jacrev, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

from attnorm import AttentiveNorm2d
from attnorm.layers.kernels.inputs import refusal
from attnorm.layers.residual import halved
from tests.layers.conftest import ORDERS, features, make_layer

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backend", ["cpp", "reference"])
def test_what_follows_may_change_the_output_in_place(
    device: str, dtype: torch.dtype, order: str, training: bool, backend: str
) -> None:
    x = features(2, 3, 8, 8, dtype=dtype, order=order).to(device)
    for statistics in ("instance", "batch"):
        norm = AttentiveNorm2d(16, statistics=statistics)
        neighbour = nn.ReLU(inplace=True) if statistics == "instance" else nn.Dropout(0.5, inplace=True)
        net = nn.Sequential(nn.Conv2d(3, 16, 1), norm, neighbour)
        net.to(device=device, dtype=dtype, memory_format=ORDERS[order]).train(training)
        net(x).sum().backward()
        out = net[1](net[0](x))
        out += 1
        out.sum().backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in net.parameters())


# ---- convolutions that are wrapped, hooked or replaced: the layer calls them ----


class LowRank(nn.Module):
    """As PEFT's LoRA: the convolution beside two thin ones, or merged into its weight."""

    def __init__(self, base: nn.Conv2d) -> None:
        super().__init__()
        self.base, self.merged = base, False
        self.down = nn.Conv2d(base.in_channels, 2, 1, bias=False, dtype=base.weight.dtype)
        self.up = nn.Conv2d(2, base.out_channels, 1, bias=False, dtype=base.weight.dtype)

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) if self.merged else self.base(x) + self.up(self.down(x))

    def merge(self) -> nn.Conv2d:
        with torch.no_grad():
            self.base.weight += (self.up.weight.flatten(1) @ self.down.weight.flatten(1))[..., None, None]
        self.merged = True
        return self.base


class Scaled(nn.Conv2d):
    """A convolution with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def scaled(conv: nn.Conv2d) -> nn.Conv2d:
    found = Scaled(conv.in_channels, conv.out_channels, 1, bias=conv.bias is not None, dtype=conv.weight.dtype)
    found.load_state_dict(conv.state_dict())
    return found


def patched(conv: nn.Conv2d) -> nn.Conv2d:
    conv.forward = lambda x: 2 * F.conv2d(x, conv.weight, conv.bias)  # type: ignore[method-assign]
    return conv


def hooked(conv: nn.Conv2d) -> nn.Conv2d:
    conv.register_forward_hook(lambda _module, _inputs, out: 2 * out)
    return conv


def pruned(conv: nn.Conv2d) -> nn.Conv2d:
    return prune.l1_unstructured(conv, "weight", 0.5)


CHANGES: dict[str, Callable[[nn.Conv2d], nn.Module]] = {
    "spectral_norm hook": nn.utils.spectral_norm,
    "weight_norm hook": nn.utils.weight_norm,
    "prune": pruned,
    "LoRA": LowRank,
    "subclass": scaled,
    "own forward": patched,
    "forward hook": hooked,
    "sequence": lambda conv: nn.Sequential(conv, nn.Identity()),
    "another bias": lambda conv: nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=conv.bias is None),
    "weight_norm parametrization": parametrizations.weight_norm,
}
NAMES = ("entities", "key", "query", "value")


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("change", CHANGES)
def test_convolutions_that_are_wrapped_hooked_or_replaced_are_called(
    change: str, order: str, dtype: torch.dtype
) -> None:
    """The result is what the equations give for the convolutions' outputs, and every parameter is trained."""
    layer = make_layer().to(dtype).train()
    for name in NAMES:
        setattr(layer, name, CHANGES[change](getattr(layer, name)).to(dtype))
    plain = change == "weight_norm parametrization"
    x = features(2, 16, 8, 8, dtype=dtype, order=order)
    reason = refusal(layer, x, sampling=True)
    assert reason is None if plain else "wrapped, hooked or replaced" in str(reason)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    for _ in range(3):
        optimizer.zero_grad()
        layer(x).pow(3).mean().backward()
        optimizer.step()
    assert not [name for name, p in layer.named_parameters() if p.grad is None]
    # Eq. 5 takes the scale out of the value's rows, which weight_norm keeps apart.
    unchanged = [name for name, p in layer.named_parameters() if torch.equal(p, before[name])]
    assert set(unchanged) <= {"value.bias", "value.weight_g", "value.parametrizations.weight.original0"}
    assert layer(x).is_contiguous(memory_format=ORDERS[order])
    layer.eval()
    logits, value = layer.entities(x), layer.value(x)
    from attnorm import regional_norm

    expected = regional_norm(value, (0.1 * logits).softmax(1), layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), x + layer.residual_gain * expected, rtol=1e-4, atol=1e-4)


def test_merged_and_active_adapters_agree() -> None:
    layer, x = make_layer().eval(), features(2, 16, 8, 8)
    plain = layer(x)
    layer.value, layer.entities = LowRank(layer.value), LowRank(layer.entities)
    active = layer(x)
    layer.value, layer.entities = layer.value.merge(), layer.entities.merge()
    assert refusal(layer, x, sampling=False) is None
    torch.testing.assert_close(layer(x), active)
    assert not torch.allclose(active, plain)


# ---- compilers, exporters, tracers ----


@pytest.mark.promise
@pytest.mark.parametrize("backend", ["cpp", "reference"])
@pytest.mark.parametrize("options", [{}, {"statistics": "batch"}, {"variance": "algorithm1"}], ids=str)
def test_compiled_layers_have_the_same_values_and_gradients(options: dict, backend: str) -> None:
    torch._dynamo.reset()
    ours = make_layer(**options).train()
    theirs = copy.deepcopy(ours)
    x = features(2, 16, 8, 8)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    for layer in (compiled, theirs):
        torch.manual_seed(5)
        layer(x).square().sum().backward()
    for (name, found), wanted in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.promise
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("order", ORDERS)
def test_inductor_takes_the_layer_with_its_gradients(training: bool, order: str) -> None:
    torch._dynamo.reset()
    layer = make_layer(self_sampling=False).float().train(training)
    x = features(2, 16, 8, 8, dtype=torch.float32, order=order).requires_grad_()
    found, wanted = torch.compile(layer, fullgraph=True)(x), layer(x)
    torch.testing.assert_close(found, wanted)
    pair = (torch.autograd.grad(out.square().sum(), [x, layer.value.weight]) for out in (found, wanted))
    for ours, theirs in zip(*pair, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.promise
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
@pytest.mark.parametrize("training", [True, False])
def test_compiled_with_a_changing_batch_and_map(training: bool, compiler: str, dynamic: bool | None) -> None:
    torch._dynamo.reset()
    layer = make_layer().float().train(training)
    compiled = torch.compile(copy.deepcopy(layer), backend=compiler, fullgraph=True, dynamic=dynamic)
    for b, h, w in ((2, 8, 8), (3, 8, 8), (3, 12, 10), (1, 9, 14)):
        x = features(b, 16, h, w, dtype=torch.float32).requires_grad_()
        out = compiled(x)
        out.sum().backward()
        assert out.shape == x.grad.shape == x.shape
        if not training:
            torch.testing.assert_close(out, layer(x))


@pytest.mark.promise
@pytest.mark.parametrize("statistics", ["instance", "batch"])
def test_exported_and_traced_graphs_hold_only_operations_of_pytorch(statistics: str) -> None:
    layer, x = make_layer(statistics=statistics).float().eval(), features(2, 16, 8, 8, dtype=torch.float32)
    wanted = layer(x)
    shapes = {"x": {0: torch.export.Dim("b"), 2: torch.export.Dim("h"), 3: torch.export.Dim("w")}}
    exported = torch.export.export(layer, (x,), dynamic_shapes=shapes)
    assert "ops.attnorm" not in str(exported)
    torch.testing.assert_close(exported.module()(x), wanted)
    larger = features(3, 16, 9, 7, dtype=torch.float32)
    torch.testing.assert_close(exported.module()(larger), layer(larger))
    traced = torch.jit.trace(layer, (x,))
    assert "attnorm::" not in str(traced.graph)
    torch.testing.assert_close(traced(x), wanted)


def test_the_layer_is_a_leaf_of_torch_fx() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Sequential(make_layer().float()), nn.ReLU(inplace=True)).eval()
    graph = torch.fx.symbolic_trace(net)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["0", "1.0", "2"]
    x = features(2, 3, 8, 8, dtype=torch.float32)
    torch.testing.assert_close(graph(x), net(x))
    # The features behind the layer, as torchvision's extractor takes them.
    node = next(node for node in graph.graph.nodes if node.target == "1.0")
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    output.args = (node,)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    torch.testing.assert_close(graph(x), net[:2](x))


# ---- transforms, dispatch modes ----


def directly(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


@pytest.mark.parametrize("order", ORDERS)
def test_transforms_of_torch_func(order: str) -> None:
    layer, x = make_layer(4, 3, spectral_norm=True).eval(), features(2, 4, 6, 6, order=order)

    def function(t: Tensor) -> Tensor:
        return halved(layer(t)).sin().sum()

    for transform in (grad, jacrev, jacfwd):
        torch.testing.assert_close(transform(function)(x), directly(function, x))
    torch.testing.assert_close(vmap(lambda image: layer(image[None])[0])(x), layer(x))
    tangent = torch.randn_like(x)
    expected = (directly(function, x) * tangent).sum()
    torch.testing.assert_close(jvp(function, (x,), (tangent,))[1], expected)
    with forward_ad.dual_level():
        out = function(forward_ad.make_dual(x, tangent))
        torch.testing.assert_close(forward_ad.unpack_dual(out).tangent, expected)
    assert vmap(lambda image: layer.train()(image[None])[0], randomness="different")(x).shape == x.shape


def test_dispatch_modes_see_pytorchs_operations() -> None:
    layer, x = make_layer(4, 3).eval(), features(2, 4, 6, 6)
    graph, other = make_fx(lambda t: layer(t))(x), torch.randn_like(x)
    torch.testing.assert_close(graph(other), layer(other))
    with FlopCounterMode(display=False) as counter:
        AttentiveNorm2d(32, 16).eval()(torch.randn(1, 32, 8, 8))
    assert counter.get_total_flops() >= 2 * 32 * (32 + 16) * 64
    with FakeTensorMode():
        fake, given = AttentiveNorm2d(4, 3).train(), torch.randn(2, 4, 6, 6, requires_grad=True)
        fake(given).sum().backward()
    assert given.grad.shape == (2, 4, 6, 6)


# ---- building and sharding ----


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"statistics": "batch", "spectral_norm": True, "entity_std": 0.5}], ids=str)
def test_meta_device_then_to_empty_then_reset(options: dict, dtype: torch.dtype) -> None:
    layer = AttentiveNorm2d(16, 4, device="meta", dtype=dtype, **options)
    assert layer(torch.empty(2, 16, 8, 8, device="meta", dtype=dtype)).shape == (2, 16, 8, 8)
    with torch.device("meta"):
        assert AttentiveNorm2d(16, 4, **options).value.weight.device.type == "meta"
    layer.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*layer.parameters(), *layer.buffers()):
            tensor.fill_(float("nan"))
    layer.reset_parameters()
    assert all(torch.isfinite(t).all() and t.dtype == dtype for t in (*layer.parameters(), *layer.buffers()))
    fresh = AttentiveNorm2d(16, 4, dtype=dtype, **options)
    for name in ("weight", "bias", "residual_gain", "sampling_gain"):
        assert torch.equal(getattr(layer, name), getattr(fresh, name))
    assert layer.entities.weight.float().std().item() == pytest.approx(
        fresh.entities.weight.float().std().item(), rel=0.4
    )
    if not options:
        assert layer.orthogonal_loss() < 1e-2
    else:
        sigma = torch.linalg.matrix_norm(layer.value.weight.float().flatten(1), 2).item()
        assert sigma == pytest.approx(1, abs=0.05)
    x = features(2, 16, 8, 8, dtype=dtype)
    assert torch.equal(layer(x), x)


def test_fully_sharded_data_parallel_takes_the_layer(tmp_path: Any) -> None:
    """One process with gloo: parameters are DTensors outside of forward and backward."""
    from torch import distributed

    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError:  # before PyTorch 2.6
        from torch.distributed._composable.fsdp import fully_shard

    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
        layer = make_layer(spectral_norm=True).float()
        twin, x = copy.deepcopy(layer), features(2, 16, 8, 8, dtype=torch.float32)
        fully_shard(layer, mesh=mesh)
        for one in (layer, twin):
            one(x, torch.Generator().manual_seed(0)).square().sum().backward()
        for found, wanted in zip(layer.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(found.grad.full_tensor(), wanted.grad)
    finally:
        distributed.destroy_process_group()
