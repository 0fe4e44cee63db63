"""Under autocast the layout is float32 from the features on: against float64, where a rounded logit would show.

With weight 0, the rows of the identity as bias and a residual gain of 1 the layer adds the layout itself to its input,
in the first n channels. These are 0 here, and the features that the layout is made of are large and lie in the others.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from attnorm import AttentiveNorm2d
from attnorm.layers.kernels import cpu
from tests.layers import literal
from tests.layers.conftest import ORDERS

CHANNELS, ENTITIES, TEMPERATURE, SCALE, SEED = 48, 16, 30.0, 8.0, 5
ROUNDED = 2.0**-9 + 1e-3  # what rounding a share of 1 to bf16 may add, as some ways do with what they normalise
WAYS = ["cpp", "one-product", "reference"]
CASES = {
    "eval": {"training": False},
    "train": {"self_sampling": False},
    "self-sampling": {},
    "algorithm1": {"variance": "algorithm1"},
    "batch": {"statistics": "batch"},
    "batch-eval": {"statistics": "batch", "training": False},
}


@pytest.fixture(autouse=True)
def _one_way_through_the_layer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that the test's parameter `way` names: the operator, tiled or with one product, or the reference."""
    callspec = getattr(request.node, "callspec", None)
    way = None if callspec is None else callspec.params.get("way")
    if way == "reference":
        monkeypatch.setenv("ATTNORM_KERNEL", "off")
    elif way is not None:
        request.getfixturevalue("cpp_library")
    if way == "one-product":
        monkeypatch.setattr(cpu, "PROJECTED_CHANNELS", 0)


def layout_layer(*, training: bool = True, **options: object) -> AttentiveNorm2d:
    """Entities that bf16 cannot hold, and an output that is the input plus the layout."""
    torch.manual_seed(0)
    layer = AttentiveNorm2d(CHANNELS, ENTITIES, temperature=TEMPERATURE, **options).train(training)
    with torch.no_grad():
        layer.entities.weight.add_(0.1 * torch.randn_like(layer.entities.weight))
        layer.key.bias.normal_()
        layer.query.bias.normal_()
        layer.sampling_gain.uniform_(0.05, 0.15)
        layer.weight.zero_()
        layer.bias.copy_(torch.eye(ENTITIES, CHANNELS))
        layer.residual_gain.fill_(1)
    return layer


def features(order: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """(3, c, 9, 12), all of them numbers that bf16 holds."""
    x = SCALE * torch.randn(3, CHANNELS, 9, 12, generator=torch.Generator().manual_seed(1))
    x[:, :ENTITIES] = 0
    return x.bfloat16().to(dtype).contiguous(memory_format=ORDERS[order])


def exact_layout(layer: AttentiveNorm2d, x: Tensor) -> Tensor:
    """Equations 2 to 4 in float64, with the positions that a generator seeded with SEED draws."""
    twin, x = copy.deepcopy(layer).double(), x.detach().double()
    entities = twin.entities.weight.flatten(1)
    if not (layer.training and layer.self_sampling):
        return _softmax_of(torch.einsum("nc,bchw->bnhw", entities, x))
    pooled = nn.functional.max_pool2d(literal.conv1x1(x, twin.key.weight, twin.key.bias), 2).flatten(2)
    scores = torch.rand(len(x), 1, pooled.shape[2], generator=torch.Generator().manual_seed(SEED))
    positions = scores.topk(ENTITIES, dim=2).indices[:, 0]
    keys = torch.stack([image[:, at] for image, at in zip(pooled, positions, strict=True)])
    query = literal.conv1x1(x, twin.query.weight, twin.query.bias)
    correlation = torch.einsum("bkn,bkhw->bnhw", keys, query)
    return _softmax_of(torch.einsum("nc,bchw->bnhw", entities, x) + twin.sampling_gain[:, None, None] * correlation)


def _softmax_of(logits: Tensor) -> Tensor:
    return torch.softmax(TEMPERATURE * logits, 1)  # not literal.layout: exp(30 x 30) is infinite


def layout_error(layer: AttentiveNorm2d, x: Tensor, out: Tensor) -> float:
    return float((out[:, :ENTITIES] - exact_layout(layer, x)).detach().abs().max())


def autocast() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


@pytest.mark.promise
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", WAYS)
def test_the_layout_that_normalises(way: str, case: str, order: str) -> None:
    layer, x = layout_layer(**CASES[case]), features(order)
    with autocast():
        out = layer(x, generator())
    assert out.dtype == torch.float32
    assert layout_error(layer, x, out) < ROUNDED
    if layer.statistics == "instance":
        assert out.is_contiguous(memory_format=ORDERS[order])
