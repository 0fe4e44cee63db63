"""The operator against the literal formulas in float64, in values, gradients and second gradients."""

import itertools

import pytest
import torch

from attnorm.layers import backend_for, backend_refusals, regional_norm
from attnorm.layers.regional_norm import VARIANCES
from tests.layers import literal

AFFINES = ("entity", "shared", "none")
ON_CPU = ["cpp", "reference"]  # test_triton.py has "triton"
CASES = [case for case in itertools.product(ON_CPU, VARIANCES) if case != ("cpp", "algorithm1")]


def operands(b=2, c=3, n=5, h=4, w=6, affine="entity", sharpness=1.0):
    generator = torch.Generator().manual_seed(b + 10 * c + 100 * n + h * w)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shape = {"entity": (n, c), "shared": (c,), "none": None}[affine]
    affine_pair = [None, None] if shape is None else [normal(*shape), normal(*shape)]
    return [normal(b, c, h, w), (sharpness * normal(b, n, h, w)).softmax(1), *affine_pair]


def gradients(out, inputs):
    upstream = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).to(out.dtype)
    return torch.autograd.grad(out, [t for t in inputs if t is not None], upstream)


def require_grad(inputs):
    return [None if t is None else t.detach().clone().requires_grad_() for t in inputs]


@pytest.mark.promise
@pytest.mark.parametrize(("backend", "variance"), CASES)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 32, 33])
def test_values_and_gradients_are_those_of_the_formulas(n, order, backend, variance):
    for b, c, h, w in ((1, 1, 1, 1), (2, 3, 3, 5), (1, 4, 37, 41)):
        given = operands(b, c, n, h, w, affine=AFFINES[n % 3])
        exact = require_grad(given)
        ours = require_grad([*(t.contiguous(memory_format=order) for t in given[:2]), *given[2:]])
        out = regional_norm(*ours, variance=variance, backend=backend)
        expected = literal.regional_norm(*exact, variance)
        torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)
        if h * w > 1:  # the literal form has no gradient where nothing varies
            torch.testing.assert_close(gradients(out, ours), gradients(expected, exact), rtol=1e-8, atol=1e-8)


@pytest.mark.promise
@pytest.mark.parametrize(("backend", "variance"), CASES)
@pytest.mark.parametrize("affine", AFFINES)
def test_gradcheck_and_gradgradcheck(backend, variance, affine):
    inputs = tuple(require_grad(operands(b=2, c=2, n=3, h=2, w=3, affine=affine)))

    def function(*args):
        return regional_norm(*args, variance=variance, backend=backend)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize(("backend", "variance"), CASES)
@pytest.mark.parametrize("mean", [100.0, 1000.0])
def test_gradients_survive_a_large_mean(backend, variance, mean):
    inputs = [t.float() for t in operands(2, 6, 5, 32, 32, sharpness=2.0)]
    inputs[0] += mean
    ours, exact = require_grad(inputs), require_grad([t.double() for t in inputs])
    found = gradients(regional_norm(*ours, variance=variance, backend=backend), ours)
    wanted = gradients(literal.regional_norm(*exact, variance), exact)
    for one, truth in zip(found, wanted, strict=True):
        assert (one.double() - truth).abs().max() < 2e-4 * truth.abs().max()


def normalized_variance(v, s, backend):
    """What regions say of their own deviations: the first region's variance after the operator, 1 where it is exact."""
    return regional_norm(v, s, backend=backend).double()[..., s[0, 0] > 0].var(-1, correction=0)


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize("mean", [100.0, 1000.0])
@pytest.mark.parametrize("side", [64, 512])  # both are multiples of any stride that divides the number of pixels
def test_the_deviation_itself_survives_a_large_mean(backend, mean, side):
    """And a first column unlike the rest, as zero padding makes it: the shift must not come from it alone."""
    v = torch.randn(1, 2, side, side, generator=torch.Generator().manual_seed(0)) + mean
    v[..., 0] = 0
    inside = torch.ones(1, 1, side, side)
    inside[..., 0] = 0
    found = normalized_variance(v, torch.cat([inside, 1 - inside], 1), backend)
    torch.testing.assert_close(found, torch.ones_like(found), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize("k", [10.0, 100.0])
def test_regions_far_apart_keep_the_bound_of_the_documentation(backend, k):
    """Each mean is k deviations from the constant between them: 4 k^2 2^-24 of a deviation, twice of its square."""
    inside = (torch.arange(64 * 64) % 2).view(1, 1, 64, 64).float()
    v = torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(0)) + k * (2 * inside - 1)
    found = normalized_variance(v, torch.cat([inside, 1 - inside], 1), backend)
    assert (found - 1).abs().max() < 8 * k**2 * 2**-24 + 5e-5  # and eps


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize("value", [0.0, 3.0, 1e4])
def test_constant_features_have_finite_gradients(backend, value):
    v = torch.full((2, 3, 8, 8), value, requires_grad=True)
    s = torch.randn(2, 4, 8, 8).softmax(1).requires_grad_()
    out = regional_norm(v, s, backend=backend)
    out.sum().backward()
    assert all(torch.isfinite(t).all() for t in (out, v.grad, s.grad))


@pytest.mark.parametrize("backend", ON_CPU)
def test_a_region_without_pixels_contributes_nothing(backend):
    v, s, _, _ = operands(affine="none")
    with_empty = torch.cat([s, torch.zeros_like(s[:, :1])], dim=1).requires_grad_()
    v.requires_grad_()
    out = regional_norm(v, with_empty, backend=backend)
    torch.testing.assert_close(out, regional_norm(v, s))
    out.square().sum().backward()
    assert all(torch.isfinite(t.grad).all() for t in (v, with_empty))


@pytest.mark.parametrize(
    ("backend", "dtype"), [("cpp", torch.bfloat16), ("reference", torch.bfloat16), ("reference", torch.float16)]
)
def test_half_precision_is_as_good_as_the_rounding_of_its_input(backend, dtype):
    """Statistics in float32: the error is that of rounding the result, even at mean 10 where squares overflow fp16."""
    v, s, weight, bias = operands(2, 8, 6, 32, 32)
    low = (v + 10).to(dtype)
    out = regional_norm(low, s.float(), weight.float(), bias.float(), backend=backend)
    expected = literal.regional_norm(low.double(), s, weight, bias, "weighted")
    assert out.dtype == dtype
    error, rounding = (out.double() - expected).abs().max(), (expected.to(dtype).double() - expected).abs().max()
    assert error <= 2 * rounding + 1e-4


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(2, 33, 17, 40, 41), (2, 32, 16, 64, 64)])
@pytest.mark.parametrize(("mean", "distance"), [(0.0, 0.0), (10.0, 0.0), (0.0, 0.1), (0.0, 20.0)])
@pytest.mark.usefixtures("cpp_library")
def test_bfloat16_maps_cost_no_more_than_twice_the_rounding(mean, distance, size, order):
    """Of the result in the mean square, also where the means of the regions are far from one another."""
    v, s, weight, bias = operands(*size, sharpness=8.0)
    v = v + mean + distance * s.argmax(1, keepdim=True)
    v, s = (v.bfloat16().contiguous(memory_format=order), s.bfloat16().contiguous(memory_format=order))
    expected = literal.regional_norm(v.double(), s.double(), weight, bias, "weighted")
    out = regional_norm(v, s, weight.float(), bias.float(), backend="cpp")
    error, rounding = ((t.double() - expected).square().mean().sqrt() for t in (out, expected.bfloat16()))
    assert error < 2 * rounding


@pytest.mark.usefixtures("cpp_library")
def test_which_backend_runs_and_why_not_another(monkeypatch):
    v, s, _, _ = operands()
    assert backend_for(v, s) == backend_for(v.float(), s.float()) == "cpp"
    assert backend_for(v.half(), s.half()) == backend_for(v.to("meta"), s.to("meta")) == "reference"
    assert backend_for(v, s, variance="algorithm1") == backend_for(v, s, backend="reference") == "reference"
    for call, backend, reason in (
        ((v, s), "triton", "on cpu, not on a CUDA device"),
        ((v.half(), s.half()), "cpp", "float16"),
        ((v.to("meta"), s.to("meta")), "cpp", "meta"),
    ):
        assert reason in backend_refusals(*call)[backend]
    torch.func.grad(lambda t: [backend_refusals(t, s)["cpp"].index("torch.func"), t.sum()][1])(v)
    monkeypatch.setenv("ATTNORM_KERNEL", "off")
    assert backend_for(v, s) == "reference"
    for backend, message in (("cpp", "ATTNORM_KERNEL switches it off"), ("cuda-magic", "'cuda-magic'")):
        with pytest.raises(ValueError, match=message):
            regional_norm(v, s, backend=backend)


@pytest.mark.promise
@pytest.mark.usefixtures("cpp_library")
@pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="before 2.7 a compilation looks like an export")
def test_torch_compile_calls_the_operator_and_looks_not_inside():
    graphs = []
    inputs = operands()
    torch._dynamo.reset()
    out = torch.compile(regional_norm, fullgraph=True, backend=lambda graph, _: graphs.append(graph) or graph)(*inputs)
    torch.testing.assert_close(out, regional_norm(*inputs))
    assert len(graphs) == 1
    assert "attnorm.regional_norm" in str(graphs[0].graph)


@pytest.mark.promise
@pytest.mark.usefixtures("cpp_library")
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_the_operators_keep_pytorchs_rules(order):
    v, s, weight, bias = (t.float() for t in operands())
    v, s = (t.contiguous(memory_format=order).requires_grad_() for t in (v, s))
    torch.library.opcheck(torch.ops.attnorm.regional_norm.default, (v, s, weight.requires_grad_(), bias, 1e-5))
    given = [t.detach() for t in (v, s, weight, bias)]
    out, *statistics = torch.ops.attnorm.regional_norm(*given, 1e-5)
    needed = [True, True, True, False]
    torch.library.opcheck(torch.ops.attnorm.regional_norm_backward.default, (out, *given, 1e-5, statistics, needed))


@pytest.mark.usefixtures("cpp_library")
@pytest.mark.parametrize("needed", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_the_gradients_that_are_needed(needed):
    ours, exact = require_grad(operands()), require_grad(operands())
    leaves = [t.requires_grad_(need) for t, need in zip(ours, (*needed, needed[-1]), strict=True)]
    out, expected = regional_norm(*leaves, backend="cpp"), literal.regional_norm(*exact, "weighted")
    out.sum().backward()  # expands one number: strides of 0
    wanted = torch.autograd.grad(expected.sum(), exact)
    wanted = [grad if leaf.requires_grad else None for leaf, grad in zip(leaves, wanted, strict=True)]
    torch.testing.assert_close([leaf.grad for leaf in leaves], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("cpp_library")
@pytest.mark.parametrize("dtypes", list(itertools.product([torch.float64, torch.float32, torch.bfloat16], repeat=2)))
def test_mixed_dtypes_and_slices(dtypes):
    v, s, weight, bias = operands(2, 5, 4, 8, 9)
    wide = torch.zeros(2, 10, 8, 18, dtype=dtypes[0])
    wide[:, :5, :, ::2] = v
    v, s = wide[:, :5, :, ::2].requires_grad_(), s.to(dtypes[1])
    found, wanted = (regional_norm(v, s, weight, bias, backend=backend) for backend in ON_CPU)
    assert found.dtype == v.dtype
    # Pairs round shares and factors too: 1.5 to 1.9 times the RMS error of rounding the result; `instance_norm`, 1.5.
    rough, pairs = torch.bfloat16 in dtypes, set(dtypes) == {torch.bfloat16}
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
        ((2, 3, 4, 4), (2, 5, 4, 4), {"bias": torch.ones(3, device="meta")}, r"on cpu, got \(3,\) on meta"),
        ((2, 3, 4, 4), (2, 5, 4, 4), {"bias": torch.ones(4)}, r"bias must be \(5, 3\)"),
        ((2, 3, 4, 4), (2, 5, 4, 4), {"variance": "biased"}, "variance must be one of"),
    ],
)
def test_operands_that_do_not_fit(v, s, options, message):
    with pytest.raises(ValueError, match=message):
        regional_norm(torch.ones(v), torch.ones(s), **options)
