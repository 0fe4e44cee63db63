"""The fused operator of the layer against the layer in plain PyTorch: the same results and gradients, to rounding."""

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attnorm import AttentiveNorm2d
from attnorm.layers.kernels import cpu, operator
from attnorm.layers.kernels.operator import inputs_of, refusal
from tests.layers.conftest import ORDERS, assert_same, features, make_layer, results

pytestmark = pytest.mark.usefixtures("cpp_library")
TILED, ONE_PRODUCT = 16, cpu.PROJECTED_CHANNELS + 4  # channels of the two ways of the C++ kernel


def reference(monkeypatch, layer, x, **options):
    with monkeypatch.context() as patched:
        patched.setenv("ATTNORM_KERNEL", "off")
        return results(layer, x, **options)


def arguments_of(layer, x):
    """The arguments of the operator for a call of the layer."""
    positions, pool = layer._draw_positions(x, torch.Generator().manual_seed(3))
    assert refusal(layer, x, sampling=positions is not None) is None
    return (*inputs_of(layer, x, positions), pool, layer.temperature, layer.eps)


@pytest.mark.promise
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("channels", [TILED, ONE_PRODUCT])
@pytest.mark.parametrize(
    "options",
    [{}, {"self_sampling": False}, {"spectral_norm": True}, {"affine": "shared"}, {"affine": "none", "pool_size": 3}],
    ids=str,
)
def test_same_values_and_gradients_in_float64(order, channels, options, monkeypatch):
    layer = make_layer(channels, 5, temperature=0.5, **options).train()
    x = features(3, channels, 9, 8, order=order).requires_grad_()
    found, wanted = results(copy.deepcopy(layer), x), reference(monkeypatch, copy.deepcopy(layer), x)
    assert len(found) == 2 + len(list(layer.parameters())) - (0 if layer.self_sampling else 5)
    assert_same(found, wanted)
    assert found["out"].is_contiguous(memory_format=ORDERS[order])
    assert found["x"].is_contiguous(memory_format=ORDERS[order])


SHAPES = [
    (1, 1, 2, 1, 1),
    (3, 1, 4, 5, 3),
    (2, 16, 16, 8, 8),  # whole vectors
    (2, 33, 17, 13, 11),
    (1, 64, 16, 32, 32),
    (3, 7, 5, 40, 40),  # several tiles, more images than one thread's share
    (1, 3, 2, 200, 210),  # several tiles a chunk
    (4, 160, 9, 24, 24),  # images too large to stay in the cache
]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_way_through_the_kernel(shape, threads, monkeypatch):
    """float32, by float64: tiles, chunks and threads; any number of threads gives the same bits."""
    b, c, n, h, w = shape
    exact = make_layer(c, n, self_sampling=False)
    x = features(b, c, h, w, dtype=torch.float32).requires_grad_()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = results(copy.deepcopy(exact).float(), x)
        torch.set_num_threads(2)
        again = results(copy.deepcopy(exact).float(), x)
    finally:
        torch.set_num_threads(before)
    wanted = reference(monkeypatch, exact, x.double().detach().requires_grad_())
    for name, value in found.items():
        assert (value.double() - wanted[name]).abs().max() <= 1e-3 * wanted[name].abs().max() + 1e-5, name
    assert torch.equal(found["out"], again["out"])
    if c <= cpu.PROJECTED_CHANNELS:  # PyTorch's own products may depend on the threads
        assert all(torch.equal(value, again[name]) for name, value in found.items() if name in ("x", "weight", "bias"))


@pytest.mark.promise
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [4, TILED, ONE_PRODUCT])
def test_autocast_is_no_worse_than_the_reference(channels, order, dtype, monkeypatch):
    exact = make_layer(channels, 16, temperature=0.5).train()
    layer = copy.deepcopy(exact).float()
    x = features(4, channels, 16, 16, dtype=dtype, order=order).requires_grad_()
    wanted = reference(monkeypatch, exact, x.detach().double().requires_grad_())
    plain = reference(monkeypatch, copy.deepcopy(layer), x, autocast=True)
    found = results(layer, x, autocast=True)
    assert found["out"].dtype == found["x"].dtype == dtype
    assert found["x"].is_contiguous(memory_format=ORDERS[order])
    for name, value in found.items():
        bound = 2 * (plain[name].double() - wanted[name]).abs().max() + 5e-3 * wanted[name].abs().max() + 1e-6
        assert (value.double() - wanted[name]).abs().max() <= bound, name


@pytest.mark.parametrize("training", [True, False])
def test_few_channels_keep_nothing_large_and_many_one_product(training):
    for channels, kept in ((TILED, []), (ONE_PRODUCT, [2 * (ONE_PRODUCT + 16) * 32 * 32 * 4])):
        layer, x = AttentiveNorm2d(channels, 16).train(training), torch.randn(2, channels, 32, 32, requires_grad=True)
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, saved=saved: saved.append(t) or t, lambda t: t):
            layer(x)
        sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in saved if t.numel() > 20_000}
        sizes.pop(x.untyped_storage().data_ptr())
        assert list(sizes.values()) == kept


@pytest.mark.parametrize("channels", [TILED, ONE_PRODUCT])
@pytest.mark.parametrize("frozen", ["value", "all", "input"])
def test_what_is_frozen_gets_no_gradient_and_the_rest_is_the_same(frozen, channels):
    layer, x = make_layer(channels).train(), features(2, channels, 8, 8).requires_grad_()
    wanted = results(layer, x)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(frozen == "input" or (frozen == "value" and not name.startswith("value")))
    found = results(layer, x.requires_grad_(frozen != "input"))
    names = set(wanted) - {"value": {"value.weight"}, "input": {"x"}}.get(frozen, set())
    assert_same(found, {name: wanted[name] for name in (names if frozen != "all" else {"out", "x"})})


@pytest.mark.promise
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sampling", [True, False])
def test_gradcheck_and_gradgradcheck(order, sampling):
    layer = make_layer(4, 3, self_sampling=sampling)
    x = features(2, 4, 3, 4, order=order).requires_grad_()
    *tensors, positions, pool, temperature, eps = arguments_of(layer, x)
    given = [t for t in tensors if t is not None]

    def function(*args):
        rest = iter(args)
        inputs = operator.Inputs(*(None if t is None else next(rest) for t in tensors), positions)
        return torch.ops.attnorm.attentive_norm(*inputs, pool, temperature, eps)[0]

    assert torch.autograd.gradcheck(function, given)
    assert torch.autograd.gradgradcheck(function, given, fast_mode=True)


@pytest.mark.promise
@pytest.mark.parametrize("channels", [4, ONE_PRODUCT])
@pytest.mark.parametrize("order", ORDERS)
def test_the_operators_keep_pytorchs_rules(channels, order):
    layer, x = make_layer(channels, 3).float(), features(2, channels, 4, 5, dtype=torch.float32, order=order)
    arguments = arguments_of(layer, x.requires_grad_())
    torch.library.opcheck(torch.ops.attnorm.attentive_norm.default, arguments)
    inputs = [t.detach() if isinstance(t, Tensor) else t for t in arguments]
    out, *saved = torch.ops.attnorm.attentive_norm(*inputs)
    needed = [True] * 8 + [False, True, False]
    torch.library.opcheck(
        torch.ops.attnorm.attentive_norm_backward.default, (torch.ones_like(out), *inputs, saved, needed)
    )


def test_calls_that_take_the_reference():
    layer, x = make_layer().float(), features(2, 16, 8, 8, dtype=torch.float32)
    for call, reason in ((x.double(), "float64 features do not fit torch.float32"), (x.half(), "float16")):
        assert reason in refusal(layer, call, sampling=False)
    with torch.autocast("cpu", torch.float16):
        assert "float16" in refusal(layer, x, sampling=False)
        assert layer(x).dtype == torch.float32
    for options in ({"variance": "algorithm1"}, {"statistics": "batch"}):
        assert "only" in refusal(make_layer(**options), x.double(), sampling=False)


def test_upstream_gradients_of_another_order_expanded_ones_and_an_empty_batch():
    layer, by_batch, x = make_layer(), make_layer(statistics="batch").train(), features(2, 16, 8, 8).requires_grad_()
    ones, generator = torch.ones_like(x), torch.Generator()
    ways = ones, ones.to(memory_format=torch.channels_last), ones[0, 0, 0, 0].expand(x.shape)
    first, *others = (torch.autograd.grad(layer(x, generator.manual_seed(3)), x, grad)[0] for grad in ways)
    for other in others:
        torch.testing.assert_close(first, other)
    empty = layer(x[:0]) + by_batch(x[:0])
    assert empty.shape == (0, 16, 8, 8) and not torch.autograd.grad(empty.sum(), x)[0].any()
    assert by_batch.running_mean.isfinite().all()


@pytest.mark.parametrize("channels", [TILED, ONE_PRODUCT])
def test_gradient_checkpointing(channels):
    layer, x = make_layer(channels).eval(), features(2, channels, 8, 8).requires_grad_()
    ways = layer(x), checkpoint(layer, x, use_reentrant=False)
    torch.testing.assert_close(*(torch.autograd.grad(out.sin().sum(), x) for out in ways))


def test_flat_regions_stay_as_they_are_in_bfloat16():
    layer, halves = AttentiveNorm2d(16, 8, temperature=30.0).eval(), torch.ones(1, 16, 16, 16, dtype=torch.bfloat16)
    nn.init.ones_(layer.residual_gain)
    halves[..., :8] = -2
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(halves), halves, rtol=0, atol=0.1)


@pytest.mark.parametrize(("channels", "step"), list(itertools.product([TILED, ONE_PRODUCT], ["channels", "pixels"])))
def test_features_that_are_slices_of_a_larger_map(channels, step, monkeypatch):
    """Strides of neither memory format."""
    layer = make_layer(channels).eval()
    wide = features(2, 2 * channels, 8, 16)
    x = wide[:, ::2, :, ::2] if step == "channels" else wide[:, :channels, :, ::2]
    found = layer(x)
    torch.testing.assert_close(found, layer(x.contiguous()))
    monkeypatch.setenv("ATTNORM_KERNEL", "off")
    torch.testing.assert_close(found, layer(x))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_finite_is_not_hidden(value, dtype):
    layer, x = make_layer().to(dtype), features(2, 16, 8, 8, dtype=dtype)
    x[0, 1, 2, 3] = value
    out = layer.eval()(x)
    assert not torch.isfinite(out[0]).any()
    assert torch.isfinite(out[1]).all()
