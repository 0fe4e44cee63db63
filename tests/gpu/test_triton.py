"""The Triton kernel: run by Triton's interpreter against float64, and compiled for GPUs that need not be there."""

import copy
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from attnorm.layers import regional_norm
from attnorm.layers.kernels import gpu, registry
from attnorm.layers.kernels.gpu import launches, self_check
from attnorm.layers.kernels.operator import inputs_of, refusal
from attnorm.layers.regional_norm import backend_for
from tests.gpu import triton_resources
from tests.layers import literal
from tests.layers.conftest import ORDERS, assert_same, features, make_layer, results

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def interpreted(monkeypatch):
    """`tests/conftest.py` imported triton so; this lets the operators know. With a GPU the programs run there."""
    monkeypatch.setitem(registry.AUTOMATIC, DEVICE, "triton")
    if DEVICE == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")


def compare(b, c, n, h, w, tolerance, dtype=torch.float64, mean=0.0, order="nchw"):
    """Values and gradients of eq. 5 against the formula in float64, relative to the largest; maps as part of larger
    ones. Weight and bias are float32 at least.
    """
    generator, wide = torch.Generator().manual_seed(n), torch.promote_types(dtype, torch.float32)
    v, s = (torch.randn(b, k, h, w + 1, generator=generator, dtype=torch.float64).to(DEVICE) for k in (c, n))
    maps = [(v + mean).to(dtype), (3 * s).softmax(1).to(dtype)]
    maps = [t.contiguous(memory_format=ORDERS[order])[..., 1:].requires_grad_() for t in maps]
    affine = [torch.randn(n, c, generator=generator).to(DEVICE, wide).requires_grad_() for _ in "wb"]
    inputs = [*maps, *affine]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    out, expected = regional_norm(*inputs, backend="triton"), literal.regional_norm(*exact, "weighted")
    upstream = torch.linspace(-1, 1, w, dtype=torch.float64, device=DEVICE).expand(out.shape)  # with strides of 0
    found = out, *torch.autograd.grad(out, inputs, upstream.to(dtype))
    for one, wanted in zip(found, (expected, *torch.autograd.grad(expected, exact, upstream)), strict=True):
        assert (one.double() - wanted).abs().max() <= tolerance * wanted.abs().max().clamp_min(1)


@pytest.mark.promise
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("n", [1, 2, 7, 8, 15, 16, 17, 31, 32, 33])
def test_every_number_of_regions(n):
    compare(1, 3, n, 5, 9, 5e-6, torch.float32)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(3, 1, 2, 1, 7), (1, 33, 3, 5, 3), (1, 3, 4, 11, 17)])
def test_odd_shapes_and_splits_of_several_blocks(shape, order, monkeypatch):
    monkeypatch.setattr(launches, "PROGRAMS", 3)
    compare(*shape, 1e-9, order=order)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_good_as_the_rounding_of_its_results(dtype):
    """The interpreter cuts bfloat16 off where a GPU rounds it. At mean 10 squares overflow fp16."""
    compare(1, 3, 5, 12, 13, 4 * torch.finfo(dtype).eps, dtype, mean=10)


@pytest.mark.usefixtures("interpreted")
def test_constant_features_regions_without_pixels_and_empty_batches():
    v = torch.full((1, 3, 8, 9), 1e4, device=DEVICE, requires_grad=True)
    s = torch.cat([torch.ones_like(v[:, :1]), torch.zeros_like(v[:, :1])], 1).detach().requires_grad_()
    out = regional_norm(v, s, backend="triton")
    assert all(torch.isfinite(t).all() for t in (out, *torch.autograd.grad(out.sum(), [v, s])))
    assert regional_norm(v[:0], s[:0], backend="triton").shape == (0, 3, 8, 9)


@pytest.mark.promise
@pytest.mark.usefixtures("interpreted")
def test_gradcheck_and_gradgradcheck():
    def function(v, s):
        return regional_norm(v, s.softmax(1), backend="triton")

    inputs = [t.to(DEVICE).requires_grad_() for t in (features(1, 2, 2, 3), features(1, 3, 2, 3))]
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.promise
@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("options", [{}, {"self_sampling": False, "affine": "none"}], ids=str)
def test_the_whole_layer_is_the_reference(order, options, monkeypatch):
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
def test_the_operators_keep_pytorchs_rules_and_compile():
    v, s = features(1, 3, 2, 3).to(DEVICE), features(1, 4, 2, 3).softmax(1).to(DEVICE)
    torch.library.opcheck(torch.ops.attnorm.regional_norm.default, (v, s, None, None, 1e-5))
    layer, x = make_layer(4, 3).to(DEVICE).train(), features(2, 4, 4, 5).to(DEVICE)
    positions, pool = layer._draw_positions(x, None)
    arguments = (*inputs_of(layer, x, positions), pool, layer.temperature, layer.eps)
    torch.library.opcheck(torch.ops.attnorm.attentive_norm.default, arguments)
    torch._dynamo.reset()
    compiled = torch.compile(layer.eval(), fullgraph=True, backend="aot_eager")
    for other in (x, features(3, 4, 6, 5).to(DEVICE), x[:0]):  # the second has symbols for its sizes
        torch.testing.assert_close(compiled(other), layer(other))


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_auto_takes_what_passes_its_self_check_and_warns_once_of_what_fails(dtype, monkeypatch, recwarn):
    monkeypatch.setattr(self_check, "_verdicts", {})
    v, s = (features(1, k, 3, 3, dtype=dtype).to(DEVICE) for k in (2, 4))
    assert "has not run yet" in str(self_check.doubt(v.device, dtype, False, 16, recording=True))
    assert backend_for(v, s) == "triton" and not recwarn
    self_check._verdicts.clear()
    right = gpu.backward

    def wrong(problem):
        right(problem)
        problem.d_layout[0, 0, 0] += 1

    monkeypatch.setattr(gpu, "backward", wrong)
    assert [backend_for(v, s) for _ in range(2)] == ["reference", "reference"]
    assert [w.message.args[0].partition(":")[2][:35] for w in recwarn] == [" the Triton kernel failed its self-"]


REFUSED = {
    "float64, not torch.int32": {"dtype": torch.int32},
    "at most 64 regions, not 65": {"regions": 65},
    "needs compute capability 8.0, and this GPU has 7.5": {"capability": (7, 5)},
    "needs triton 3.4 or newer, not 3.1.0": {"version": "3.1.0"},
    "the package triton is not installed": {"spec": None},
    "is built for AMD's": {"hip": "7.1"},
}


@pytest.mark.parametrize("version", ["3.4.0", None])  # None: a wheel of another name, such as pytorch-triton
@pytest.mark.parametrize("reason", [None, *REFUSED])
def test_refusal(reason, version, monkeypatch):
    call = {"dtype": torch.bfloat16, "regions": 64, "capability": (8, 0), "spec": "found", "hip": None}
    call |= {"version": version} | REFUSED.get(reason, {})

    def version_of(name):
        if call["version"] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return call["version"]

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: call["capability"])
    monkeypatch.setattr(torch.version, "hip", call["hip"])
    monkeypatch.setattr(gpu.importlib.metadata, "version", version_of)
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: call["spec"])
    gpu._machine_refusal.cache_clear()
    found = gpu.refusal(torch.device("cuda"), {call["dtype"]}, call["regions"])
    gpu._machine_refusal.cache_clear()
    assert reason in found if reason else found is None


@pytest.mark.parametrize(("dtype", "last", "capability"), [("float32", False, 80), ("bfloat16", True, 90)])
def test_nothing_spills_and_nothing_is_atomic(dtype, last, capability, tmp_path):
    """Sums in a fixed order, hence no atomic instructions; small enough for two programs on an A100."""
    code = f"""
import json, torch
from tests.gpu.triton_resources import compile_launch, launches_of
for launch in launches_of(torch.{dtype}, 16, {last}):
    print(json.dumps(compile_launch(launch, {capability})))
"""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command, root = [sys.executable, "-c", code], Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    programs = [triton_resources.Resources(*json.loads(line)) for line in done.stdout.splitlines()]
    assert {p.program for p in programs} == set(launches.BLOCKS)
    for program in programs:
        assert program.spilled == 0, program[:4]
        assert program.shared <= 80 << 10, program[:4]
        assert re.search(r"\b(atom|red)\.", program.ptx) is None, program.program
