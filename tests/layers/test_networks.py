"""The layer in the places where people put layers: in-place neighbours, wrapped convolutions, compilers, transforms."""

import copy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import grad, jacfwd, jacrev, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook, register_module_full_backward_hook
from torch.nn.utils import parametrizations, prune
from torch.utils.flop_counter import FlopCounterMode

from attnorm import AttentiveNorm2d, regional_norm
from attnorm.layers.kernels.operator import refusal
from tests.layers.conftest import ORDERS, compiles, features, make_layer

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backend", ["cpp", "reference"])
def test_what_follows_may_change_the_output_in_place(device, dtype, order, training, backend):
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
    """As PEFT's LoRA: the convolution, whose weight and bias it shows, beside two thin ones."""

    def __init__(self, base):
        super().__init__()
        self.base, self.weight, self.bias = base, base.weight, base.bias
        self.down = nn.Conv2d(base.in_channels, 2, 1, bias=False)
        self.up = nn.Conv2d(2, base.out_channels, 1, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


class Scaled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


def subclassed(conv):
    conv.__class__ = Scaled
    return conv


def patched(conv):
    conv.forward = lambda x: 2 * F.conv2d(x, conv.weight, conv.bias)
    return conv


def hooked(conv):
    conv.register_forward_hook(lambda _module, _inputs, out: 2 * out)
    return conv


CHANGES = {
    "spectral_norm hook": nn.utils.spectral_norm,
    "prune": lambda conv: prune.l1_unstructured(conv, "weight", 0.5),
    "LoRA": LowRank,
    "subclass": subclassed,
    "own forward": patched,
    "forward hook": hooked,
    "sequence": lambda conv: nn.Sequential(conv, nn.Identity()),
    "another bias": lambda conv: nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=conv.bias is None),
    "weight_norm parametrization": parametrizations.weight_norm,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("change", CHANGES)
def test_convolutions_that_are_wrapped_hooked_or_replaced_are_called(change, order, dtype):
    """The result is what the equations give for the convolutions' outputs, and every parameter is trained."""
    layer = make_layer().to(dtype).train()
    for name in ("entities", "key", "query", "value"):
        setattr(layer, name, CHANGES[change](getattr(layer, name)).to(dtype))
    x = features(2, 16, 8, 8, dtype=dtype, order=order)
    reason = refusal(layer, x, sampling=True)
    plain = change == "weight_norm parametrization"
    assert reason is None if plain else "wrapped, hooked or replaced" in str(reason)
    layer(x).pow(3).mean().backward()
    assert not [name for name, p in layer.named_parameters() if p.grad is None or not p.grad.any()]
    assert layer.eval()(x).is_contiguous(memory_format=ORDERS[order])
    expected = regional_norm(layer.value(x), (0.1 * layer.entities(x)).softmax(1), layer.weight, layer.bias)
    torch.testing.assert_close(layer(x), x + layer.residual_gain * expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("register", [register_module_forward_hook, register_module_full_backward_hook])
def test_hooks_of_all_modules_see_the_convolutions(register):
    first, second = ("entities", "value") if register is register_module_forward_hook else ("value", "entities")
    seen, layer = [], make_layer().eval()
    with register(lambda module, *_: seen.append(module)):
        layer(features(2, 16, 8, 8).requires_grad_()).sum().backward()
    assert seen == [getattr(layer, first), getattr(layer, second), layer]


def test_merged_adapters_agree_with_active_ones():
    layer, x = make_layer().eval(), features(2, 16, 8, 8)
    adapters = {name: LowRank(getattr(layer, name)).double() for name in ("key", "query", "value")}
    for name, adapter in adapters.items():
        setattr(layer, name, adapter)
    active = layer(x)
    for name, adapter in adapters.items():
        adapter.base.weight.data += torch.einsum("or..., ri... -> oi...", adapter.up.weight, adapter.down.weight)
        setattr(layer, name, adapter.base)
    torch.testing.assert_close(layer(x), active)
    assert refusal(layer, x, sampling=False) is None  # the operator runs again


# ---- compilers, exporters, tracers ----


@compiles
@pytest.mark.promise
@pytest.mark.parametrize("backend", ["cpp", "reference"])
@pytest.mark.parametrize("options", [{}, {"statistics": "batch"}, {"variance": "algorithm1"}], ids=str)
def test_compiled_layers_have_the_same_values_and_gradients(options, backend):
    torch._dynamo.reset()
    ours = make_layer(**options).train()
    theirs = copy.deepcopy(ours)
    x = features(2, 16, 8, 8)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    for layer in (compiled, theirs):
        torch.manual_seed(5)
        layer(x).square().sum().backward()
    gradients = ({name: p.grad for name, p in layer.named_parameters()} for layer in (ours, theirs))
    torch.testing.assert_close(*gradients)


@compiles
@pytest.mark.promise
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("order", ORDERS)
def test_inductor_takes_the_layer_with_its_gradients(training, order):
    torch._dynamo.reset()
    layer = make_layer(self_sampling=False).float().train(training)
    x = features(2, 16, 8, 8, dtype=torch.float32, order=order).requires_grad_()
    found, wanted = torch.compile(layer, fullgraph=True)(x), layer(x)
    torch.testing.assert_close(found, wanted)
    pair = (torch.autograd.grad(out.square().sum(), [x, layer.value.weight]) for out in (found, wanted))
    torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-4)


@compiles
@pytest.mark.promise
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
@pytest.mark.parametrize("training", [True, False])
def test_compiled_with_a_changing_batch_and_map(training, compiler, dynamic):
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


@compiles
@pytest.mark.promise
@pytest.mark.parametrize("statistics", ["instance", "batch"])
def test_exported_and_traced_graphs_hold_only_operations_of_pytorch(statistics):
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


def test_the_layer_is_a_leaf_of_torch_fx():
    net = nn.Sequential(nn.Conv2d(3, 16, 1), nn.Sequential(make_layer().float()), nn.ReLU(inplace=True)).eval()
    graph = torch.fx.symbolic_trace(net)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["0", "1.0", "2"]
    *_, leaf, _, output = graph.graph.nodes  # feature extraction: what comes after the layer is cut off
    output.args = (leaf,)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    torch.testing.assert_close(graph(x := torch.randn(2, 3, 8, 8)), net[:2](x))


# ---- transforms, dispatch modes ----


def directly(function, x):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf)[0]


@pytest.mark.parametrize("order", ORDERS)
def test_transforms_of_torch_func(order):
    layer, x = make_layer(4, 3, spectral_norm=True).eval(), features(2, 4, 6, 6, order=order)

    def function(t):
        return layer(t).sin().sum()

    for transform in (grad, jacrev, jacfwd):
        torch.testing.assert_close(transform(function)(x), directly(function, x))
    torch.testing.assert_close(vmap(lambda image: layer(image[None])[0])(x), layer(x))
    tangent = torch.randn_like(x)
    expected = (directly(function, x) * tangent).sum()
    torch.testing.assert_close(jvp(function, (x,), (tangent,))[1], expected)
    jacobians = (torch.autograd.functional.jacobian(layer, x, vectorize=way) for way in (True, False))
    torch.testing.assert_close(*jacobians)
    assert vmap(lambda image: layer.train()(image[None])[0], randomness="different")(x).shape == x.shape


def test_dispatch_modes_see_pytorchs_operations():
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
def test_meta_device_then_to_empty_then_reset(options, dtype):
    layer, x = AttentiveNorm2d(16, 4, device="meta", dtype=dtype, **options), features(2, 16, 8, 8, dtype=dtype)
    assert layer(x.to("meta")).shape == x.shape
    layer.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*layer.parameters(), *layer.buffers()):
            tensor.fill_(float("nan"))
    layer.reset_parameters()
    assert all(torch.isfinite(t).all() and t.dtype == dtype for t in (*layer.parameters(), *layer.buffers()))
    assert torch.equal(layer(x), x)
    if options:
        sigma = torch.linalg.matrix_norm(layer.value.weight.float().flatten(1), 2).item()
        assert sigma == pytest.approx(1, abs=0.05)
    else:
        assert layer.orthogonal_loss() < 1e-2


def test_fully_sharded_data_parallel_takes_the_layer(tmp_path):
    """One process with gloo: parameters are DTensors outside of forward and backward."""
    from torch import distributed
    from torch.distributed import fsdp

    if not hasattr(fsdp, "fully_shard"):
        pytest.skip("before PyTorch 2.6 it needs a GPU")
    distributed.init_process_group(
        "gloo", store=distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        mesh = distributed.device_mesh.init_device_mesh("cpu", (1,))
        layer = make_layer(spectral_norm=True).float()
        twin, x = copy.deepcopy(layer), features(2, 16, 8, 8, dtype=torch.float32)
        fsdp.fully_shard(layer, mesh=mesh)
        for one in (layer, twin):
            one(x, torch.Generator().manual_seed(0)).square().sum().backward()
        found = [p.grad.full_tensor() for p in layer.parameters()]
        torch.testing.assert_close(found, [p.grad for p in twin.parameters()])
    finally:
        distributed.destroy_process_group()
