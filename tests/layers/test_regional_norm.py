"""The operator against the literal formulas in float64, in values, gradients and second gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from attnorm.layers import backend_for, backend_refusals, regional_norm
from attnorm.layers.kernels import eager, library
from attnorm.layers.regional_norm import BACKENDS, VARIANCES
from tests.layers import literal

AFFINES = ("entity", "shared", "none")
ON_CPU = [name for name in BACKENDS if name != "triton"]  # test_triton.py has that one
CASES = [case for case in itertools.product(ON_CPU, VARIANCES) if case != ("cpp", "algorithm1")]


def operands(
    b: int = 2, c: int = 3, n: int = 5, h: int = 4, w: int = 6, affine: str = "entity", sharpness: float = 1.0
) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(b + 10 * c + 100 * n + h * w)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shape = {"entity": (n, c), "shared": (c,), "none": None}[affine]
    affine_pair = [None, None] if shape is None else [normal(*shape), normal(*shape)]
    return [normal(b, c, h, w), (sharpness * normal(b, n, h, w)).softmax(1), *affine_pair]


def gradients(out: Tensor, inputs: list[Tensor | None]) -> tuple[Tensor, ...]:
    upstream = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).to(out.dtype)
    return torch.autograd.grad(out, [t for t in inputs if t is not None], upstream)


def require_grad(inputs: list[Tensor | None]) -> list[Tensor | None]:
    return [None if t is None else t.detach().clone().requires_grad_() for t in inputs]


@pytest.mark.parametrize(("backend", "variance"), CASES)
@pytest.mark.parametrize("affine", AFFINES)
def test_values_and_gradients_are_those_of_the_formulas(backend: str, variance: str, affine: str) -> None:
    ours = require_grad(operands(affine=affine))
    theirs = require_grad(operands(affine=affine))
    out = regional_norm(*ours, variance=variance, backend=backend)
    expected = literal.regional_norm(*theirs, variance)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    for found, wanted in zip(gradients(out, ours), gradients(expected, theirs), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("backend", "variance"), CASES)
@pytest.mark.parametrize("affine", AFFINES)
def test_gradcheck_and_gradgradcheck(backend: str, variance: str, affine: str) -> None:
    inputs = tuple(require_grad(operands(b=2, c=2, n=3, h=2, w=3, affine=affine)))

    def function(*args: Tensor) -> Tensor:
        return regional_norm(*args, variance=variance, backend=backend)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize(("backend", "variance"), CASES)
def test_a_graph_of_gradients_counts_what_the_inputs_share_once(backend: str, variance: str) -> None:
    """v is computed from the weight, and the weight is an input too: no path from one to the result counts twice."""
    _, s, weight, bias = operands()
    leaves = [t.clone().requires_grad_() for t in (weight, bias, s)]
    features = operands()[0].flatten(2)

    def function(shared_weight: Tensor, shared_bias: Tensor, layout: Tensor, norm) -> Tensor:
        v = (features * shared_weight.mean(0).view(1, -1, 1)).unflatten(2, s.shape[2:])
        once = norm(v, layout, shared_weight, shared_bias) + v
        return norm(once, layout * once.mean(1, keepdim=True).sigmoid(), shared_weight, shared_bias)

    def ours(*args: Tensor) -> Tensor:
        return regional_norm(*args, variance=variance, backend=backend)

    def theirs(*args: Tensor) -> Tensor:
        return literal.regional_norm(*args, variance)

    found, wanted = function(*leaves, ours), function(*leaves, theirs)
    upstream = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).view(found.shape)
    expected = torch.autograd.grad(wanted, leaves, upstream)
    for create_graph in (False, True):
        first = torch.autograd.grad(found, leaves, upstream, retain_graph=True, create_graph=create_graph)
        for one, truth in zip(first, expected, strict=True):
            torch.testing.assert_close(one, truth, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("needed", [(True, False), (False, True)])
def test_second_derivatives_when_one_input_needs_none(needed: tuple[bool, bool]) -> None:
    v, s, _, _ = operands(affine="none")
    v.requires_grad_(needed[0])
    s.requires_grad_(needed[1])
    assert torch.autograd.gradgradcheck(regional_norm, (v, s))


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1, 1), (1, 3, 33, 3, 1), (3, 1, 2, 1, 7), (2, 5, 1, 5, 3), (1, 4, 7, 37, 41)]
)
def test_odd_and_tiny_shapes(shape: tuple[int, ...], variance: str) -> None:
    inputs = operands(*shape)
    torch.testing.assert_close(
        regional_norm(*inputs, variance=variance), literal.regional_norm(*inputs, variance), rtol=1e-9, atol=1e-9
    )


def second_gradients(out: Tensor, inputs: list[Tensor | None]) -> tuple[Tensor, ...]:
    """Of the squared length of the first gradients."""
    leaves = [t for t in inputs if t is not None]
    first = torch.autograd.grad(out.square().sum(), leaves, create_graph=True)
    return torch.autograd.grad(sum(g.square().sum() for g in first), leaves)


@pytest.mark.parametrize(("backend", "variance"), CASES)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_every_number_of_regions(backend: str, variance: str, order: torch.memory_format) -> None:
    """Values, gradients and second gradients; n from 1 to 33, with maps of odd sides."""
    for n in (*range(1, 18), 31, 32, 33):
        given = operands(2, 3, n, 3, 5)
        exact = require_grad(given)
        maps = [t.contiguous(memory_format=order) for t in given[:2]]
        ours = require_grad([*maps, *given[2:]])
        out, expected = (
            regional_norm(*ours, variance=variance, backend=backend),
            literal.regional_norm(*exact, variance),
        )
        torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
        for found, wanted in zip(gradients(out, ours), gradients(expected, exact), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)
        if n in (1, 2, 16, 33):
            out = regional_norm(*ours, variance=variance, backend=backend)
            expected = literal.regional_norm(*exact, variance)
            for found, wanted in zip(second_gradients(out, ours), second_gradients(expected, exact), strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6 * wanted.abs().max().item())


@pytest.mark.parametrize("backend", ON_CPU)
def test_the_layout_of_half_precision_logits_is_single_precision(backend: str) -> None:
    """Under autocast too: weights of the softmax in bf16 would be off by up to 4e-3, and with them every mass."""
    v, _, _, _ = operands(2, 3, 5, 8, 8)
    logits = 5 * torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        _, found = BACKENDS[backend].regional_norm(
            v.bfloat16().flatten(2), logits, None, None, "weighted", 1e-5, temperature=0.7
        )
    expected = (0.7 * logits.double()).softmax(1).sum(-1)
    assert found.mass.dtype == torch.float32
    torch.testing.assert_close(found.mass.squeeze(1).double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("variance", VARIANCES)
def test_many_blocks_give_what_one_block_gives(variance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = require_grad(operands(h=9, w=11))
    out = regional_norm(*one, variance=variance, backend="eager")
    expected = [out, *gradients(out, one)]
    monkeypatch.setattr(eager, "BLOCK_BYTES", 7 * 2 * 3 * 8)  # seven pixels a block
    many = require_grad(operands(h=9, w=11))
    out = regional_norm(*many, variance=variance, backend="eager")
    for found, wanted in zip([out, *gradients(out, many)], expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("backend", "variance"), CASES)
def test_a_large_mean_does_not_drown_the_deviation(backend: str, variance: str) -> None:
    """Mean 100 and deviation 1 in float32; the mean of squares less the squared mean would lose three digits."""
    v, s, _, _ = operands(2, 4, 6, 64, 64, affine="none", sharpness=3.0)
    v = v + 100
    expected = literal.regional_norm(v, s, None, None, variance)
    out = regional_norm(v.float(), s.float(), variance=variance, backend=backend)
    assert (out - expected).abs().max() < 2e-4 * expected.abs().max()


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize("mean", [100.0, 1000.0])
def test_the_deviation_itself_survives_a_large_mean(backend: str, mean: float) -> None:
    v, s, _, _ = operands(1, 4, 6, 64, 64, affine="none", sharpness=3.0)
    v32, s32 = (v + mean).float(), s.float()
    _, found = BACKENDS[backend].regional_norm(v32.flatten(2), s32.flatten(2), None, None, "weighted", 1e-5)
    v64, s64 = v32.double()[:, :, None], s32.double()[:, None]
    mass = s64.sum((-2, -1), keepdim=True)
    mu = (s64 * v64).sum((-2, -1), keepdim=True) / mass
    sigma = ((s64 * (v64 - mu) ** 2).sum((-2, -1), keepdim=True) / mass).sqrt().squeeze((-2, -1))
    assert ((found.variance.double().sqrt() - sigma) / sigma).abs().max() < 1e-5


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize(("mean", "deviation"), [(1.0, 0.1), (10.0, 0.1), (30.0, 0.1), (10.0, 0.01)])
def test_regions_far_apart_lose_what_the_documentation_says(backend: str, mean: float, deviation: float) -> None:
    """Hard regions at -mean and mean: the channel's shift lies between them, so that sigma^2 is a difference of squares
    of ratio (mean / deviation)^2. docs/layer.md has the bound."""
    torch.manual_seed(0)
    half = torch.arange(64 * 64).view(1, 1, 64, 64) < 32 * 64
    s = torch.cat([half, ~half], dim=1).float()
    v = (deviation * torch.randn(1, 3, 64, 64) + torch.where(half, -mean, mean)).float()
    _, found = BACKENDS[backend].regional_norm(v.flatten(2), s.flatten(2), None, None, "weighted", 1e-5)
    regions = v.double().flatten(2)[..., half.flatten()], v.double().flatten(2)[..., ~half.flatten()]
    sigma = torch.stack([region.std(-1, correction=0) for region in regions], dim=-1)
    error = ((found.variance.double().sqrt() - sigma) / sigma).abs().max().item()
    assert error < 4 * (mean / deviation) ** 2 * 2**-24 + 1e-5
    double = BACKENDS[backend].regional_norm(v.double().flatten(2), s.flatten(2), None, None, "weighted", 1e-5)[1]
    torch.testing.assert_close(double.variance.sqrt(), sigma, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("backend", "variance"), CASES)
@pytest.mark.parametrize("mean", [100.0, 1000.0])
def test_gradients_survive_a_large_mean(backend: str, variance: str, mean: float) -> None:
    inputs = [t.float() for t in operands(2, 6, 5, 32, 32, sharpness=2.0)]
    inputs[0] += mean
    ours, exact = require_grad(inputs), require_grad([t.double() for t in inputs])
    found = gradients(regional_norm(*ours, variance=variance, backend=backend), ours)
    wanted = gradients(literal.regional_norm(*exact, variance), exact)
    for one, truth in zip(found, wanted, strict=True):
        assert (one.double() - truth).abs().max() < 2e-4 * truth.abs().max()


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize("side", [64, 512])  # both are multiples of any stride that divides the number of pixels
def test_the_features_are_not_shifted_by_their_first_column_alone(backend: str, side: int) -> None:
    """Zero padding makes the border of a map unlike the rest; a region inside must not lose its digits to that."""
    v = torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v[..., 0] += 1000
    border = torch.zeros_like(v)
    border[..., 0] = 1
    v32, s = v.float(), torch.cat([border, 1 - border], dim=1).float()
    _, found = BACKENDS[backend].regional_norm(v32.flatten(2), s.flatten(2), None, None, "weighted", 1e-5)
    inside = v32.double()[..., 1:].var(correction=0)
    assert (found.variance[0, 0, 1] - inside).abs() < 2e-3 * inside


def test_only_the_weighted_variance_is_blind_to_a_shift() -> None:
    v, s, _, _ = operands(affine="none")
    torch.testing.assert_close(regional_norm(v + 7, s), regional_norm(v, s), rtol=1e-10, atol=1e-10)
    shifted, plain = (regional_norm(t, s, variance="algorithm1") for t in (v + 7, v))
    assert (shifted - plain).abs().max() > 0.1


def test_one_region_is_instance_norm() -> None:
    v = operands()[0]
    expected = torch.nn.functional.instance_norm(v, eps=0)
    torch.testing.assert_close(regional_norm(v, torch.ones_like(v[:, :1]), eps=1e-12), expected)


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize("value", [0.0, 3.0, 1e4])
def test_constant_features_have_finite_gradients(backend: str, value: float) -> None:
    v = torch.full((2, 3, 8, 8), value, requires_grad=True)
    s = torch.randn(2, 4, 8, 8).softmax(1).requires_grad_()
    out = regional_norm(v, s, backend=backend)
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert torch.isfinite(v.grad).all()
    assert torch.isfinite(s.grad).all()


@pytest.mark.parametrize("backend", ON_CPU)
def test_a_region_without_pixels_contributes_nothing(backend: str) -> None:
    v, s, _, _ = operands(affine="none")
    with_empty = torch.cat([s, torch.zeros_like(s[:, :1])], dim=1).requires_grad_()
    v.requires_grad_()
    out = regional_norm(v, with_empty, backend=backend)
    torch.testing.assert_close(out, regional_norm(v, s))
    out.square().sum().backward()
    assert torch.isfinite(v.grad).all()
    assert torch.isfinite(with_empty.grad).all()


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_good_as_the_rounding_of_its_input(backend: str, dtype: torch.dtype) -> None:
    """Statistics in float32: the error is that of rounding the result, even at mean 10 where squares overflow fp16."""
    v, s, weight, bias = operands(2, 8, 6, 32, 32)
    low = (v + 10).to(dtype)
    if backend_refusals(low, s.float())[backend]:
        pytest.skip("refused")
    out = regional_norm(low, s.float(), weight.float(), bias.float(), backend=backend)
    expected = literal.regional_norm(low.double(), s, weight, bias, "weighted")
    assert out.dtype == dtype
    error, rounding = (out.double() - expected).abs().max(), (expected.to(dtype).double() - expected).abs().max()
    assert error <= 2 * rounding + 1e-4


@pytest.mark.parametrize(("backend", "variance"), CASES)
def test_a_float64_weight_goes_with_float32_features(backend: str, variance: str) -> None:
    v, s, weight, bias = operands()
    leaves = [v.float().requires_grad_(), s.float(), weight.requires_grad_(), bias.requires_grad_()]
    out = regional_norm(*leaves, variance=variance, backend=backend)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), literal.regional_norm(v, s, weight, bias, variance), rtol=1e-3, atol=1e-3)
    out.square().sum().backward()
    assert [t.grad.dtype for t in leaves if t.requires_grad] == [torch.float32, torch.float64, torch.float64]


@pytest.mark.parametrize("backend", ON_CPU)
def test_channels_last_keeps_its_format_and_its_values(backend: str) -> None:
    v, s, weight, bias = operands(2, 8, 5, 6, 7)
    expected = regional_norm(v, s, weight, bias, backend=backend)
    v_last, s_last = (t.to(memory_format=torch.channels_last) for t in (v, s))
    out = regional_norm(v_last, s_last, weight, bias, backend=backend)
    torch.testing.assert_close(out, expected)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_an_expanded_upstream_gradient() -> None:
    """`out.sum().backward()` sends a gradient whose strides are all 0."""
    ours, theirs = require_grad(operands()), require_grad(operands())
    regional_norm(*ours).sum().backward()
    literal.regional_norm(*theirs, "weighted").sum().backward()
    torch.testing.assert_close(ours[0].grad, theirs[0].grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("variance", VARIANCES)
def test_compiled_values_and_gradients(variance: str) -> None:
    ours, theirs = require_grad(operands()), require_grad(operands())

    def function(*args: Tensor) -> Tensor:
        return regional_norm(*args, variance=variance)

    torch._dynamo.reset()
    out = torch.compile(function, fullgraph=True, backend="aot_eager")(*ours)
    expected = function(*theirs)
    torch.testing.assert_close(out, expected)
    for found, wanted in zip(gradients(out, ours), gradients(expected, theirs), strict=True):
        torch.testing.assert_close(found, wanted)


def test_only_the_features_the_layout_and_small_statistics_are_saved() -> None:
    v, s, weight, bias = require_grad(operands(2, 8, 16, 32, 32))
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        regional_norm(v, s, weight, bias, backend="eager")
    large = [t for t in saved if t.numel() > 2 * 8 * 16]
    assert {t.untyped_storage().data_ptr() for t in large} == {t.untyped_storage().data_ptr() for t in (v, s)}


def test_the_best_backend_that_can_run_a_call_is_taken() -> None:
    v, s, _, _ = operands()
    best = "eager" if library.refusal() else "cpp"
    assert backend_for(v, s) == best
    assert backend_for(v.float(), s.float()) == best
    assert backend_for(v.half(), s.half()) == "eager"
    assert backend_for(v, s, variance="algorithm1") == "eager"
    assert backend_for(v.to("meta"), s.to("meta")) == "eager"
    assert backend_for(v, s, backend="composed") == "composed"


def test_every_refusal_says_why() -> None:
    v, s, _, _ = operands()
    assert backend_refusals(v, s, variance="algorithm1") == {
        "cpp": "it has no variance='algorithm1'",
        "triton": "the features are on cpu, not on a CUDA device",
        "eager": None,
        "composed": None,
    }
    assert "float16" in backend_refusals(v.half(), s.half())["cpp"]
    assert "meta" in backend_refusals(v.to("meta"), s.to("meta"))["cpp"]


def test_a_backend_that_is_asked_for_and_cannot_run_raises() -> None:
    v, s, _, _ = operands()
    with pytest.raises(ValueError, match="'cuda-magic'"):
        regional_norm(v, s, backend="cuda-magic")
    with pytest.raises(ValueError, match="'cpp' cannot run this call: it has no variance='algorithm1'"):
        regional_norm(v, s, variance="algorithm1", backend="cpp")


def test_exported_and_traced_graphs_hold_only_operations_of_pytorch() -> None:
    class Module(torch.nn.Module):
        def forward(self, v: Tensor, s: Tensor) -> Tensor:
            return regional_norm(v, s)

    v, s, _, _ = operands()
    exported = torch.export.export(Module(), (v, s))
    assert "ops.attnorm" not in str(exported)
    torch.testing.assert_close(exported.module()(v, s), regional_norm(v, s))
    traced = torch.jit.trace(Module(), (v, s))
    assert "attnorm::" not in str(traced.graph)
    torch.testing.assert_close(traced(v, s), regional_norm(v, s))


@pytest.mark.parametrize(
    ("v", "s", "options", "message"),
    [
        ((2, 3, 4, 4), (2, 5, 4, 3), {}, "agree in batch, height and width"),
        ((2, 3, 4, 4), (1, 5, 4, 4), {}, "agree in batch, height and width"),
        ((3, 4, 4), (5, 4, 4), {}, r"\(b, c, h, w\)"),
        ((2, 3, 0, 4), (2, 5, 0, 4), {}, "at least one"),
        ((2, 3, 4, 4), (2, 5, 4, 4), {"weight": torch.ones(3, 5)}, r"weight must be \(5, 3\)"),
        ((2, 3, 4, 4), (2, 5, 4, 4), {"bias": torch.ones(4)}, r"bias must be \(5, 3\)"),
        ((2, 3, 4, 4), (2, 5, 4, 4), {"variance": "biased"}, "variance must be one of"),
    ],
)
def test_operands_that_do_not_fit(v: tuple[int, ...], s: tuple[int, ...], options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        regional_norm(torch.ones(v), torch.ones(s), **options)


def test_integers_are_refused() -> None:
    with pytest.raises(ValueError, match="floating point"):
        regional_norm(torch.ones(1, 1, 2, 2, dtype=torch.int64), torch.ones(1, 1, 2, 2))
