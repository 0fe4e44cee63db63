"""The Triton backend: run by Triton's interpreter against float64, and compiled for GPUs that need not be there."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from attnorm.layers import backend_refusals, regional_norm
from attnorm.layers.kernels import composed, triton_gpu
from attnorm.layers.kernels.triton_gpu import launches, operators, resources
from attnorm.layers.regional_norm import VARIANCES
from tests.layers import literal

TEMPERATURE = 0.3
MAIN = [index for index, setting in enumerate(resources.SETTINGS) if setting.regions <= 32]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytest.importorskip("triton")


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests/conftest.py` imported triton so; this lets the backend know. With a GPU the programs run there."""
    if DEVICE == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")


def operands(
    b: int, c: int, n: int, h: int, w: int, affine: str = "entity", logits: bool = True
) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(b + 10 * c + 100 * n + h * w)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(DEVICE)

    v, s = normal(b, c, h, w), 3 * normal(b, n, h, w)
    shape = {"entity": (n, c), "shared": (c,), "none": None}[affine]
    return [v, s if logits else s.softmax(1), *([None, None] if shape is None else [normal(*shape), normal(*shape)])]


def ours(
    inputs: list[Tensor | None],
    variance: str = "weighted",
    temperature: float | None = TEMPERATURE,
    residual: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    v, s, weight, bias = inputs
    weight, bias = (t.expand(s.shape[1], -1) if t is not None and t.ndim == 1 else t for t in (weight, bias))
    assert triton_gpu.refusal(v, s, variance) is None
    flat = None if residual is None else residual.flatten(2)
    out, _ = triton_gpu.regional_norm(v.flatten(2), s.flatten(2), weight, bias, variance, eps, temperature, flat)
    return out.unflatten(2, v.shape[2:])


def formula(
    inputs: list[Tensor | None],
    variance: str = "weighted",
    temperature: float | None = TEMPERATURE,
    eps: float = 1e-5,
) -> Tensor:
    v, s, weight, bias = (None if t is None else t.double() for t in inputs)
    layout = s if temperature is None else (temperature * s).softmax(1)
    return literal.regional_norm(v, layout, weight, bias, variance, eps)


def cast(inputs: list[Tensor | None], dtype: torch.dtype, parameters: torch.dtype | None = None) -> list[Tensor | None]:
    """Leaves of a graph; v has `dtype`, everything else the other."""
    dtypes = [dtype, *[parameters or dtype] * 3]
    return [
        None if t is None else t.detach().to(d).clone().requires_grad_() for t, d in zip(inputs, dtypes, strict=True)
    ]


def gradients(out: Tensor, inputs: list[Tensor | None]) -> tuple[Tensor, ...]:
    upstream = torch.linspace(-1, 1, out.numel(), dtype=torch.bfloat16, device=out.device)  # exact in every dtype
    upstream = upstream.view(out.shape).to(out.dtype)
    return torch.autograd.grad(out, [t for t in inputs if t is not None], upstream)


def assert_close(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    """Relative to the largest value."""
    error = (found.double() - wanted).abs().max().item()
    assert error <= tolerance * wanted.abs().max().item() + 1e-12


def compare(inputs: list[Tensor | None], tolerance: float, variance: str = "weighted", **options: float | None) -> None:
    """Values and gradients against the formula, both on the same numbers in the dtype of the inputs."""
    reference = cast(inputs, torch.float64)
    out, expected = ours(inputs, variance, **options), formula(reference, variance, **options)
    assert_close(out, expected, tolerance)
    for found, wanted in zip(gradients(out, inputs), gradients(expected, reference), strict=True):
        assert_close(found, wanted, tolerance)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(("variance", "logits"), list(itertools.product(VARIANCES, (True, False))))
@pytest.mark.parametrize("affine", ["entity", "shared", "none"])
def test_values_and_gradients_are_those_of_the_formulas(variance: str, logits: bool, affine: str) -> None:
    inputs = cast(operands(2, 3, 5, 4, 6, affine, logits), torch.float64)
    compare(inputs, 1e-12, variance, temperature=TEMPERATURE if logits else None, eps=0.1)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("n", [1, 2, 7, 8, 15, 16, 17, 31, 32, 33])
def test_every_number_of_regions(n: int) -> None:
    compare(cast(operands(1, 3, n, 5, 9), torch.float32), 5e-6)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1, 2), (3, 1, 2, 1, 7), (1, 33, 3, 5, 3)])
def test_odd_and_tiny_shapes(shape: tuple[int, ...], variance: str) -> None:
    compare(cast(operands(*shape), torch.float64), 1e-9, variance)


@pytest.mark.usefixtures("interpreted")
def test_one_pixel_gives_the_bias_of_its_regions() -> None:
    inputs = cast(operands(1, 2, 3, 1, 1), torch.float64)
    out, expected = ours(inputs), formula(inputs)
    assert_close(out, expected, 1e-9)
    assert all(torch.isfinite(t).all() for t in gradients(out, inputs))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("variance", VARIANCES)
def test_splits_of_several_blocks_and_a_short_last_one(variance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "PROGRAMS", 3)
    monkeypatch.setattr(launches, "BLOCK_SPLITS", 2)
    inputs = cast(operands(1, 3, 4, 11, 17), torch.float64)
    inputs[0].data[..., 6:, :] += 10  # every split has a shift of its own
    compare(inputs, 1e-11, variance)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("variance", VARIANCES)
def test_a_large_mean_does_not_drown_the_deviation(variance: str) -> None:
    v, *others = operands(1, 3, 4, 15, 17, "entity")
    compare(cast([v + 100, *others], torch.float32), 3e-5, variance)


@pytest.mark.usefixtures("interpreted")
def test_the_deviation_itself_survives_a_mean_of_a_thousand() -> None:
    v, s, _, _ = operands(1, 3, 4, 15, 17, "none", logits=False)
    v, s = (v + 1000).float().flatten(2), s.float().flatten(2)
    _, found = triton_gpu.regional_norm(v, s, None, None, "weighted", 1e-5)
    expected, _ = composed.moments(v.double(), s.double(), "weighted", 1e-5)
    torch.testing.assert_close(found.variance.double(), expected.variance, rtol=1e-5, atol=0)
    for wanted, ours in zip(expected, found, strict=True):
        assert wanted.shape == ours.shape


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("value", [0.0, 1e4])
def test_constant_features_have_finite_gradients(value: float) -> None:
    v = torch.full((1, 3, 8, 9), value, device=DEVICE, requires_grad=True)
    s = operands(1, 3, 4, 8, 9)[1].float().requires_grad_()
    out = ours([v, s, None, None])
    found = gradients(out, [v, s])
    assert all(torch.isfinite(t).all() for t in (out, *found))


@pytest.mark.usefixtures("interpreted")
def test_a_region_without_pixels_contributes_nothing() -> None:
    v, s, _, _ = cast(operands(1, 3, 4, 5, 6, "none", logits=False), torch.float32)
    with_empty = torch.cat([s.detach(), torch.zeros_like(s[:, :1])], 1).requires_grad_()
    out = ours([v, with_empty, None, None], temperature=None)
    torch.testing.assert_close(out, ours([v, s, None, None], temperature=None))
    assert all(torch.isfinite(t).all() for t in gradients(out, [v, with_empty]))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_good_as_the_rounding_of_its_results(dtype: torch.dtype) -> None:
    """Twice the rounding: the interpreter cuts bfloat16 off where a GPU rounds it. At mean 10 squares overflow fp16."""
    v, *others = operands(1, 3, 5, 12, 13)
    inputs = cast([v + 10, *others], dtype, parameters=torch.float32)
    reference = cast(inputs, torch.float64)
    out, expected = ours(inputs), formula(reference)
    pairs = zip([out, *gradients(out, inputs)], [expected, *gradients(expected, reference)], strict=True)
    for index, (found, wanted) in enumerate(pairs):
        assert found.dtype == (dtype if index < 2 else torch.float32)
        assert_close(found, wanted, torch.finfo(dtype).eps + 1e-5 if index < 2 else 1e-5)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("mixed", [False, True])
def test_channels_last_keeps_its_format_and_its_values(mixed: bool) -> None:
    inputs = cast(operands(2, 5, 3, 6, 7), torch.float64)
    last = [t.detach().contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t.detach() for t in inputs]
    if mixed:
        last[1] = inputs[1].detach()
    for tensor in last:
        tensor.requires_grad_()
    out, expected = ours(last), ours(inputs)
    torch.testing.assert_close(out, expected, rtol=1e-13, atol=1e-13)
    assert out.is_contiguous(memory_format=torch.channels_last)
    found = gradients(out, last)
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    for ours_, wanted in zip(found, gradients(expected, inputs), strict=True):
        torch.testing.assert_close(ours_, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("interpreted")
def test_slices_of_larger_maps() -> None:
    """Strides that are neither NCHW's nor channels_last's."""
    v, s, weight, bias = operands(2, 6, 3, 5, 8)
    inputs = [t.requires_grad_() for t in (v[:, ::2, :, 1:].detach(), s[..., 1:].detach(), weight[:, ::2], bias[:, :3])]
    compare(inputs, 1e-12)


@pytest.mark.usefixtures("interpreted")
def test_an_expanded_upstream_gradient() -> None:
    """`out.sum().backward()` sends a gradient whose strides are all 0."""
    inputs = cast(operands(1, 3, 4, 5, 6), torch.float64)
    reference = cast(inputs, torch.float64)
    ours(inputs).sum().backward()
    formula(reference).sum().backward()
    for found, wanted in zip(inputs, reference, strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("interpreted")
def test_a_residual_is_added_before_the_result_is_rounded() -> None:
    inputs = cast(operands(1, 3, 4, 5, 6), torch.bfloat16, parameters=torch.float32)
    residual = operands(1, 3, 2, 5, 6)[0].float().requires_grad_()
    out = ours(inputs, residual=residual)
    assert out.dtype == torch.float32
    assert_close(out, formula(inputs) + residual.double(), 1e-5)
    torch.testing.assert_close(torch.autograd.grad(out.sum(), residual)[0], torch.ones_like(residual))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("needed", [(True, False, False), (False, True, False), (False, False, True)])
def test_gradients_of_one_input_alone(needed: tuple[bool, ...]) -> None:
    inputs, reference = (cast(operands(1, 3, 4, 5, 6), torch.float64) for _ in range(2))
    for group in (inputs, reference):
        for tensor, need in zip(group, (*needed, needed[-1]), strict=True):
            tensor.requires_grad_(need)
    chosen = [t for t in inputs if t.requires_grad]
    wanted = [t for t in reference if t.requires_grad]
    pairs = zip(gradients(ours(inputs), chosen), gradients(formula(reference), wanted), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("variance", VARIANCES)
def test_gradcheck_and_gradgradcheck(variance: str) -> None:
    inputs = tuple(cast(operands(1, 2, 3, 2, 3), torch.float64))

    def function(*args: Tensor) -> Tensor:
        return ours(list(args), variance)

    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.usefixtures("interpreted")
def test_an_empty_batch() -> None:
    inputs = cast(operands(1, 3, 4, 5, 6), torch.float32)
    inputs[0], inputs[1] = (t.detach()[:0].requires_grad_() for t in inputs[:2])
    out = ours(inputs)
    assert out.shape == (0, 3, 5, 6)
    found = gradients(out, inputs)
    assert torch.equal(found[2], torch.zeros_like(found[2]))
    assert found[2].shape == (4, 3)


@pytest.mark.usefixtures("interpreted")
def test_compiled_values_and_gradients() -> None:
    inputs, reference = (cast(operands(1, 3, 4, 5, 6), torch.float32) for _ in range(2))
    torch._dynamo.reset()
    function = torch.compile(lambda *args: ours(list(args)), fullgraph=True, backend="aot_eager")
    out, expected = function(*inputs), ours(reference)
    torch.testing.assert_close(out, expected)
    for found, wanted in zip(gradients(out, inputs), gradients(expected, reference), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("last", [False, True])
def test_the_operators_keep_pytorchs_rules(last: bool) -> None:
    form = torch.channels_last if last else torch.contiguous_format
    v, s, weight, bias = cast(operands(1, 3, 4, 2, 3), torch.float64)
    v, s = (t.detach().contiguous(memory_format=form).flatten(2).requires_grad_() for t in (v, s))
    arguments = (v, s, weight, bias, None, TEMPERATURE, "weighted", 1e-5)
    torch.library.opcheck(operators._forward, arguments)
    with torch.no_grad():
        out, *statistics = operators._forward(*arguments)
    backward = (out, v, s, weight, bias, *statistics, TEMPERATURE, "weighted", 1e-5, [True, True, False, True])
    torch.library.opcheck(operators._backward, [t.detach() if isinstance(t, Tensor) else t for t in backward])


def test_refusal() -> None:
    v, s = torch.ones(1, 2, 3, 3), torch.ones(1, 4, 3, 3)
    assert backend_refusals(v, s)["triton"] == "the features are on cpu, not on a CUDA device"
    with pytest.raises(ValueError, match="'triton' cannot run this call: the features are on cpu"):
        regional_norm(v, s, backend="triton")


@pytest.mark.usefixtures("interpreted")
def test_the_public_operator_takes_it_when_asked() -> None:
    v, s, weight, bias = operands(1, 3, 4, 5, 6, logits=False)
    out = regional_norm(v, s, weight, bias, backend="triton")
    assert_close(out, formula([v, s, weight, bias], temperature=None), 1e-12)


@pytest.mark.parametrize(
    ("capability", "dtype", "regions", "message"),
    [
        ((7, 5), torch.float32, 16, "needs compute capability 8.0, and this GPU has 7.5"),
        ((9, 0), torch.int32, 16, "int32 is none of its dtypes"),
        ((9, 0), torch.float32, 65, "at most 64 regions, not 65"),
        ((8, 0), torch.bfloat16, 64, None),
    ],
)
def test_refusal_on_a_gpu(
    capability: tuple[int, int],
    dtype: torch.dtype,
    regions: int,
    message: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    with FakeTensorMode():
        v, s = torch.empty(1, 2, 9, dtype=dtype, device="cuda"), torch.empty(1, regions, 9, device="cuda")
    reason = triton_gpu.refusal(v, s, "weighted")
    assert reason is None if message is None else message in reason


def test_refusal_without_triton_or_with_an_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeTensorMode():
        v, on_cpu = torch.empty(1, 2, 9, device="cuda"), torch.empty(1, 2, 9)
    assert "and the layout on cpu" in triton_gpu.refusal(v, on_cpu, "weighted")
    monkeypatch.setattr(operators.importlib.metadata, "version", lambda name: "3.1.0")
    assert "needs triton 3.7 or newer, not 3.1.0" in triton_gpu.refusal(v, v, "weighted")
    monkeypatch.setattr(operators.importlib.util, "find_spec", lambda name: None)
    assert triton_gpu.refusal(v, v, "weighted") == "the package triton is not installed"


def test_importing_the_package_and_asking_does_not_import_triton() -> None:
    code = """
import sys, torch, attnorm
from attnorm.layers.kernels import triton_gpu
triton_gpu.refusal(torch.ones(1, 2, 3), torch.ones(1, 2, 3), "weighted")
assert "triton" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("index", "capability"), [(MAIN[1], 80), (MAIN[-1], 90)])
def test_nothing_spills_and_nothing_is_atomic(index: int, capability: int, tmp_path: Path) -> None:
    assert_clean(compile_settings([f"SETTINGS[{index}]"], [capability], tmp_path))


@pytest.mark.slow
def test_nothing_spills_in_any_main_setting(tmp_path: Path) -> None:
    assert_clean(compile_settings([f"SETTINGS[{index}]" for index in MAIN], resources.CAPABILITIES, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        "Setting(torch.float64)",
        "Setting(torch.float16, channels=3)",
        "Setting(variance='algorithm1')",
        "Setting(regions=64, size=5)",
    ],
)
def test_the_rarer_settings_compile(setting: str, tmp_path: Path) -> None:
    assert len(compile_settings([setting], resources.CAPABILITIES, tmp_path)) == 6 * len(resources.CAPABILITIES)


def compile_settings(settings: Sequence[str], capabilities: Sequence[int], folder: Path) -> list[resources.Resources]:
    """Compiles in a process whose Triton compiles; the cache of compiled programs is a folder of the test's."""
    code = f"""
import json, torch
from attnorm.layers.kernels.triton_gpu.resources import SETTINGS, Setting, compile_launch, launches_of
for setting in [{", ".join(settings)}]:
    for launch in launches_of(setting):
        for capability in {list(capabilities)}:
            print(json.dumps(compile_launch(launch, capability)))
"""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return [resources.Resources(*json.loads(line)) for line in done.stdout.splitlines()]


def assert_clean(programs: list[resources.Resources]) -> None:
    """No spills; sums in a fixed order, hence no atomic instructions; small enough for two programs on an A100."""
    assert {p.program for p in programs} >= {"partial_moments", "apply", "partial_gradients", "apply_gradients"}
    for program in programs:
        assert program.spilled == 0, program[:4]
        assert program.shared <= 80 << 10, program[:4]
        assert re.search(r"\b(atom|red)\.", program.ptx) is None, program.program


def test_the_table_names_programs_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        resources, "compile_launch", lambda launch, capability: resources.Resources(launch.program, 40, 8, 256, "")
    )
    head, names, row = resources.table([resources.Setting()], [90])
    assert "sm_90" in head
    assert "partial_moments" in names and "apply_gradients" in names
    assert row.startswith("float32 n=16 c=32 NCHW weighted") and row.count("40/8/256") == 6
