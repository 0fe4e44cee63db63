"""The Triton kernel: run by Triton's interpreter against float64, and compiled for GPUs that need not be there."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from attnorm.layers import backend_refusals, regional_norm
from attnorm.layers.kernels import gpu, registry
from attnorm.layers.kernels.gpu import launches
from attnorm.layers.kernels.inputs import inputs_of, refusal
from tests.layers import literal, triton_resources
from tests.layers.conftest import ORDERS, assert_same, features, make_layer, results

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests/conftest.py` imported triton so; this lets the operators know. With a GPU the programs run there."""
    monkeypatch.setitem(registry.AUTOMATIC, DEVICE, "triton")
    if DEVICE == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        monkeypatch.setitem(registry.KERNELS, "cpu", gpu)


def operands(
    b: int, c: int, n: int, h: int, w: int, *, mean: float = 0.0, dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    """v, a layout, weight and bias; weight and bias are float32 at least."""
    generator = torch.Generator().manual_seed(b + 10 * c + 100 * n + h * w)
    shapes = ((b, c, h, w), (b, n, h, w), (n, c), (n, c))
    v, s, *affine = (torch.randn(shape, generator=generator, dtype=torch.float64).to(DEVICE) for shape in shapes)
    wide = torch.promote_types(dtype, torch.float32)
    tensors = [(v + mean).to(dtype), (3 * s).softmax(1).to(dtype), *(t.to(wide) for t in affine)]
    return [t.requires_grad_() for t in tensors]


def gradients(out: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    upstream = torch.linspace(-1, 1, out.numel(), dtype=torch.float64, device=DEVICE).view(out.shape).to(out.dtype)
    return torch.autograd.grad(out, inputs, upstream)


def compare(inputs: list[Tensor], tolerance: float) -> None:
    """Values and gradients against the formula in float64, relative to the largest."""
    exact = [t.detach().double().requires_grad_() for t in inputs]
    out, expected = regional_norm(*inputs, backend="triton"), literal.regional_norm(*exact, "weighted")
    pairs = zip([out, *gradients(out, inputs)], [expected, *gradients(expected, exact)], strict=True)
    for found, wanted in pairs:
        assert (found.double() - wanted).abs().max() <= tolerance * wanted.abs().max().clamp_min(1)


@pytest.mark.promise
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("n", [1, 2, 7, 8, 15, 16, 17, 31, 32, 33])
def test_every_number_of_regions(n: int) -> None:
    compare(operands(1, 3, n, 5, 9, dtype=torch.float32), 5e-6)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("shape", [(2, 3, 5, 4, 6), (1, 1, 1, 1, 2), (3, 1, 2, 1, 7), (1, 33, 3, 5, 3)])
def test_odd_and_tiny_shapes(shape: tuple[int, ...]) -> None:
    compare(operands(*shape), 1e-9)


@pytest.mark.usefixtures("interpreted")
def test_splits_of_several_blocks_and_a_short_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launches, "PROGRAMS", 3)
    monkeypatch.setattr(launches, "BLOCK_SPLITS", 2)
    inputs = operands(1, 3, 4, 11, 17)
    compare(inputs, 1e-11)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_good_as_the_rounding_of_its_results(dtype: torch.dtype) -> None:
    """The interpreter cuts bfloat16 off where a GPU rounds it. At mean 10 squares overflow fp16."""
    compare(operands(1, 3, 5, 12, 13, mean=10, dtype=dtype), 4 * torch.finfo(dtype).eps)


@pytest.mark.usefixtures("interpreted")
def test_constant_features_and_regions_without_pixels() -> None:
    v = torch.full((1, 3, 8, 9), 1e4, device=DEVICE, requires_grad=True)
    s = operands(1, 3, 4, 8, 9, dtype=torch.float32)[1].detach()
    s = torch.cat([s, torch.zeros_like(s[:, :1])], 1).requires_grad_()
    out = regional_norm(v, s, backend="triton")
    assert all(torch.isfinite(t).all() for t in (out, *gradients(out, [v, s])))
    empty = regional_norm(v[:0], s[:0], backend="triton")
    assert empty.shape == (0, 3, 8, 9)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("order", ORDERS)
def test_memory_formats_slices_and_expanded_gradients(order: str) -> None:
    v, s, weight, bias = operands(2, 6, 3, 5, 8)
    last = [t.detach().contiguous(memory_format=ORDERS[order]).requires_grad_() for t in (v, s)]
    out = regional_norm(*last, weight, bias, backend="triton")
    assert out.is_contiguous(memory_format=ORDERS[order])
    expected = literal.regional_norm(v, s, weight, bias, "weighted")
    found, wanted = torch.autograd.grad(out.sum(), last), torch.autograd.grad(expected.sum(), [v, s])
    for one, truth in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, truth, rtol=1e-9, atol=1e-9)
    compare([t.detach().requires_grad_() for t in (v[:, ::2, :, 1:], s[..., 1:], weight[:, ::2], bias[:, :3])], 1e-11)


@pytest.mark.promise
@pytest.mark.usefixtures("interpreted")
def test_gradcheck_and_gradgradcheck() -> None:
    def function(*args: Tensor) -> Tensor:
        return regional_norm(*args, backend="triton")

    inputs = operands(1, 2, 3, 2, 3)
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.promise
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("options", [{}, {"self_sampling": False, "affine": "none"}], ids=str)
def test_the_whole_layer_is_the_reference(order: str, options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits, softmax, residual and sampled filters are part of the operator."""
    layer = make_layer(6, 3, **options).train().to(DEVICE)
    x = features(2, 6, 5, 7, order=order).to(DEVICE).requires_grad_()
    assert refusal(layer, x, sampling=layer.self_sampling) is None
    found = results(copy.deepcopy(layer), x)
    monkeypatch.setenv("ATTNORM_KERNEL", "off")
    assert_same(found, results(layer, x))
    assert found["x"].is_contiguous(memory_format=ORDERS[order])


@pytest.mark.promise
@pytest.mark.usefixtures("interpreted")
def test_the_operators_keep_pytorchs_rules_and_compile() -> None:
    v, s, weight, bias = operands(1, 3, 4, 2, 3)
    torch.library.opcheck(torch.ops.attnorm.regional_norm.default, (v, s, weight, bias, 1e-5))
    layer, x = make_layer(4, 3).to(DEVICE).train(), features(2, 4, 4, 5).to(DEVICE)
    positions, pool = layer._draw_positions(x, None)
    arguments = (*inputs_of(layer, x, positions), pool, layer.temperature, layer.eps)
    torch.library.opcheck(torch.ops.attnorm.attentive_norm.default, arguments)
    torch._dynamo.reset()
    layer.eval()
    found = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(found, layer(x))


@pytest.mark.parametrize(
    ("capability", "dtype", "regions", "message"),
    [
        ((7, 5), torch.float32, 16, "needs compute capability 8.0, and this GPU has 7.5"),
        ((9, 0), torch.int32, 16, "int32 is none of its dtypes"),
        ((9, 0), torch.float32, 65, "at most 64 regions, not 65"),
        ((8, 0), torch.bfloat16, 64, None),
    ],
)
def test_refusal(
    capability: tuple[int, int], dtype: torch.dtype, regions: int, message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    cuda = torch.device("cuda")
    reason = gpu.refusal(cuda, {dtype}, regions)
    assert reason is None if message is None else message in str(reason)
    monkeypatch.setattr(gpu.importlib.metadata, "version", lambda name: "3.1.0")
    assert "needs triton 3.7 or newer, not 3.1.0" in str(gpu.refusal(cuda, {torch.float32}, 4))
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    assert gpu.refusal(cuda, {torch.float32}, 4) == "the package triton is not installed"
    v, s = torch.ones(1, 2, 3, 3), torch.ones(1, 4, 3, 3)
    assert backend_refusals(v, s)["triton"] == "the features are on cpu, not on a CUDA device"


def test_importing_the_package_and_asking_does_not_import_triton() -> None:
    code = (
        "import sys, torch, attnorm; from attnorm.layers import backend_refusals\n"
        "backend_refusals(torch.ones(1, 2, 3, 3), torch.ones(1, 2, 3, 3))\n"
        "assert 'triton' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


MAIN = [index for index, setting in enumerate(triton_resources.SETTINGS) if setting.regions <= 32]


@pytest.mark.parametrize(("index", "capability"), [(MAIN[1], 80), (MAIN[-1], 90)])
def test_nothing_spills_and_nothing_is_atomic(index: int, capability: int, tmp_path: Path) -> None:
    """Sums in a fixed order, hence no atomic instructions; small enough for two programs on an A100."""
    code = f"""
import json
from tests.layers.triton_resources import SETTINGS, compile_launch, launches_of
for launch in launches_of(SETTINGS[{index}]):
    print(json.dumps(compile_launch(launch, {capability})))
"""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    programs = [triton_resources.Resources(*json.loads(line)) for line in done.stdout.splitlines()]
    assert {p.program for p in programs} == {
        "partial_sums",
        "finish_moments",
        "apply",
        "finish_gradients",
        "apply_gradients",
    }
    for program in programs:
        assert program.spilled == 0, program[:4]
        assert program.shared <= 80 << 10, program[:4]
        assert re.search(r"\b(atom|red)\.", program.ptx) is None, program.program
