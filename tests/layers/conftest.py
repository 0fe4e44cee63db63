"""A C++ kernel needs a compiler or a build that is already there; layers for the tests; float64 references."""

import sys

import pytest
import torch

from attnorm import AttentiveNorm2d
from attnorm.layers.kernels import cpu, library

ORDERS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
NO_COMPILER = sys.version_info >= (3, 13) and torch.__version__ < "2.6"
compiles = pytest.mark.skipif(NO_COMPILER, reason="PyTorch 2.5 does not compile on Python 3.13")


@pytest.fixture
def cpp_library():
    """Builds or loads the library; skips the test, and says why, on a machine that can do neither."""
    if reason := library.refusal():
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def _chosen_kernel(request, monkeypatch):
    """For tests that are parametrized with `backend`; "one-product" is the C++ kernel's way for many channels."""
    callspec = getattr(request.node, "callspec", None)
    backend = None if callspec is None else callspec.params.get("backend")
    if backend == "reference":
        monkeypatch.setenv("ATTNORM_KERNEL", "off")
    elif backend in ("cpp", "one-product"):
        request.getfixturevalue("cpp_library")
    if backend == "one-product":
        monkeypatch.setattr(cpu, "PROJECTED_CHANNELS", 0)


def make_layer(channels=16, entities=4, *, seed=0, **options):
    """A float64 layer with no parameter at its initial value, so that each one matters."""
    torch.manual_seed(seed)
    layer = AttentiveNorm2d(channels, entities, **options).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def features(*shape, dtype=torch.float64, order="nchw"):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x.to(dtype).contiguous(memory_format=ORDERS[order])


def results(layer, x, *, autocast=False):
    """The output and the gradients of x and of every parameter that has one; positions are drawn with seed 3."""
    layer.zero_grad(set_to_none=True)
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_(x.requires_grad)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = layer(leaf, torch.Generator().manual_seed(3))
    out.backward(torch.linspace(-1, 1, out.numel()).view(out.shape).to(out.dtype))
    found = {name: p.grad for name, p in layer.named_parameters() if p.grad is not None}
    return {"out": out.detach(), **found, **({"x": leaf.grad} if leaf.grad is not None else {})}


def assert_same(found, wanted, tolerance=1e-8):
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
