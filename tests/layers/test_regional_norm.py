"""The operator against the literal formulas in float64, in values, gradients and second gradients."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from attnorm.layers import backend_for, backend_refusals, regional_norm
from attnorm.layers.regional_norm import VARIANCES
from tests.layers import literal

AFFINES = ("entity", "shared", "none")
ON_CPU = ["cpp", "reference"]  # test_triton.py has "triton"
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


@pytest.mark.promise
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


@pytest.mark.promise
@pytest.mark.parametrize(("backend", "variance"), CASES)
@pytest.mark.parametrize("affine", AFFINES)
def test_gradcheck_and_gradgradcheck(backend: str, variance: str, affine: str) -> None:
    inputs = tuple(require_grad(operands(b=2, c=2, n=3, h=2, w=3, affine=affine)))

    def function(*args: Tensor) -> Tensor:
        return regional_norm(*args, variance=variance, backend=backend)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize(("backend", "variance"), CASES)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 32, 33])
def test_every_number_of_regions(n: int, order: torch.memory_format, backend: str, variance: str) -> None:
    for size in ((1, 1, 1, 1), (2, 3, 3, 5), (1, 4, 37, 41)):
        given = operands(size[0], size[1], n, *size[2:])
        exact = require_grad(given)
        ours = require_grad([*(t.contiguous(memory_format=order) for t in given[:2]), *given[2:]])
        out = regional_norm(*ours, variance=variance, backend=backend)
        expected = literal.regional_norm(*exact, variance)
        torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)
        if size != (1, 1, 1, 1):  # the literal form has no gradient where nothing varies
            for found, wanted in zip(gradients(out, ours), gradients(expected, exact), strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


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


def normalized_variance(v: Tensor, s: Tensor, backend: str) -> Tensor:
    """What regions say of their own deviations: the first region's variance after the operator, 1 where it is exact."""
    return regional_norm(v, s, backend=backend).double()[..., s[0, 0] > 0].var(-1, correction=0)


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize("mean", [100.0, 1000.0])
@pytest.mark.parametrize("side", [64, 512])  # both are multiples of any stride that divides the number of pixels
def test_the_deviation_itself_survives_a_large_mean(backend: str, mean: float, side: int) -> None:
    """And a first column unlike the rest, as zero padding makes it: the shift must not come from it alone."""
    v = torch.randn(1, 2, side, side, generator=torch.Generator().manual_seed(0)) + mean
    v[..., 0] = 0
    inside = torch.ones(1, 1, side, side)
    inside[..., 0] = 0
    found = normalized_variance(v, torch.cat([inside, 1 - inside], 1), backend)
    torch.testing.assert_close(found, torch.ones_like(found), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize(("mean", "deviation"), [(1.0, 0.1), (10.0, 0.1), (30.0, 0.1), (10.0, 0.01)])
def test_regions_far_apart_lose_what_the_documentation_says(backend: str, mean: float, deviation: float) -> None:
    """Hard regions at -mean and mean: the channel's shift lies between them, so that sigma^2 is a difference of squares
    of ratio (mean / deviation)^2. docs/layer.md has the bound."""
    torch.manual_seed(0)
    half = torch.arange(64 * 64).view(1, 1, 64, 64) < 32 * 64
    v = deviation * torch.randn(1, 3, 64, 64) + torch.where(half, -mean, mean)
    found = normalized_variance(v, torch.cat([half, ~half], dim=1).float(), backend)
    eps = 2 * 1e-5 / deviation
    assert (found - 1).abs().max() < 8 * (mean / deviation) ** 2 * 2**-24 + 2e-5 + eps


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


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("mean", [0.0, 10.0])
@pytest.mark.usefixtures("cpp_library")
def test_bfloat16_maps_cost_no_more_than_twice_the_rounding(mean: float, order: torch.memory_format) -> None:
    """Of the result in the mean square, where the processor's products of bfloat16 pairs round the factors as well."""
    v, s, weight, bias = operands(2, 33, 17, 40, 41, sharpness=2.0)
    v, s = ((v + mean).bfloat16().contiguous(memory_format=order), s.bfloat16().contiguous(memory_format=order))
    expected = literal.regional_norm(v.double(), s.double(), weight, bias, "weighted")
    out = regional_norm(v, s, weight.float(), bias.float(), backend="cpp")
    error, rounding = ((t.double() - expected).square().mean().sqrt() for t in (out, expected.bfloat16()))
    assert error < 2 * rounding


@pytest.mark.usefixtures("cpp_library")
def test_which_backend_runs_and_why_not_another(monkeypatch: pytest.MonkeyPatch) -> None:
    v, s, _, _ = operands()
    assert backend_for(v, s) == backend_for(v.float(), s.float()) == "cpp"
    assert backend_for(v.half(), s.half()) == backend_for(v.to("meta"), s.to("meta")) == "reference"
    assert backend_for(v, s, variance="algorithm1") == backend_for(v, s, backend="reference") == "reference"
    no_variance = "it has no variance='algorithm1'"
    assert backend_refusals(v, s, variance="algorithm1") == {
        "cpp": no_variance,
        "triton": no_variance,
        "reference": None,
    }
    assert backend_refusals(v, s)["triton"] == "the features are on cpu, not on a CUDA device"
    assert "float16" in backend_refusals(v.half(), s.half())["cpp"]
    assert "meta" in backend_refusals(v.to("meta"), s.to("meta"))["cpp"]
    torch.func.grad(lambda t: [backend_refusals(t, s)["cpp"].index("torch.func"), t.sum()][1])(v)
    monkeypatch.setenv("ATTNORM_KERNEL", "off")
    assert backend_for(v, s) == "reference"
    for backend, message in (
        ("cpp", "'cpp' cannot run this call: ATTNORM_KERNEL switches it off"),
        ("cuda-magic", "'cuda-magic'"),
    ):
        with pytest.raises(ValueError, match=message):
            regional_norm(v, s, backend=backend)


@pytest.mark.promise
@pytest.mark.usefixtures("cpp_library")
@pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="before 2.7 a compilation looks like an export")
def test_torch_compile_calls_the_operator_and_looks_not_inside() -> None:
    graphs: list[torch.fx.GraphModule] = []
    inputs = operands()
    torch._dynamo.reset()
    out = torch.compile(regional_norm, fullgraph=True, backend=lambda graph, _: graphs.append(graph) or graph)(*inputs)
    torch.testing.assert_close(out, regional_norm(*inputs))
    assert len(graphs) == 1
    assert "attnorm.regional_norm" in str(graphs[0].graph)


@pytest.mark.promise
@pytest.mark.usefixtures("cpp_library")
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_the_operators_keep_pytorchs_rules(order: torch.memory_format) -> None:
    v, s, weight, bias = (t.float() for t in operands())
    v, s = (t.contiguous(memory_format=order).requires_grad_() for t in (v, s))
    torch.library.opcheck(torch.ops.attnorm.regional_norm.default, (v, s, weight.requires_grad_(), bias, 1e-5))
    given = [t.detach() for t in (v, s, weight, bias)]
    out, *statistics = torch.ops.attnorm.regional_norm(*given, 1e-5)
    needed = [True, True, True, False]
    torch.library.opcheck(torch.ops.attnorm.regional_norm_backward.default, (out, *given, 1e-5, statistics, needed))


@pytest.mark.usefixtures("cpp_library")
@pytest.mark.parametrize("needed", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_the_gradients_that_are_needed(needed: tuple[bool, ...]) -> None:
    ours, exact = require_grad(operands()), require_grad(operands())
    leaves = [t.requires_grad_(need) for t, need in zip(ours, (*needed, needed[-1]), strict=True)]
    out, expected = regional_norm(*leaves, backend="cpp"), literal.regional_norm(*exact, "weighted")
    out.sum().backward()  # expands one number: strides of 0
    for leaf, wanted in zip(leaves, torch.autograd.grad(expected.sum(), exact), strict=True):
        if leaf.requires_grad:
            torch.testing.assert_close(leaf.grad, wanted, rtol=1e-9, atol=1e-9)
        else:
            assert leaf.grad is None


@pytest.mark.usefixtures("cpp_library")
@pytest.mark.parametrize("dtypes", list(itertools.product([torch.float64, torch.float32, torch.bfloat16], repeat=2)))
def test_mixed_dtypes_and_slices(dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    v, s, weight, bias = operands(2, 5, 4, 8, 9)
    wide = torch.zeros(2, 10, 8, 18, dtype=dtypes[0])
    wide[:, :5, :, ::2] = v
    v, s = wide[:, :5, :, ::2].requires_grad_(), s.to(dtypes[1])
    found, wanted = (regional_norm(v, s, weight, bias, backend=backend) for backend in ON_CPU)
    assert found.dtype == v.dtype
    rough, pairs = torch.bfloat16 in dtypes, set(dtypes) == {torch.bfloat16}  # pairs: bfloat16 factors too
    torch.testing.assert_close(found, wanted, rtol=1e-2 if rough else 1e-5, atol=2e-2 if pairs else 1e-3)
    ours, theirs = (torch.autograd.grad(out.square().sum(), v)[0] for out in (found, wanted))
    torch.testing.assert_close(ours, theirs, rtol=3e-2 if rough else 1e-4, atol=3e-2 if rough else 1e-4)


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
