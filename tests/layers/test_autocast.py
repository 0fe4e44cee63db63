"""Under autocast the layout is float32 from the features on: against float64, where a rounded logit would show.

With weight 0, the rows of the identity as bias and a residual gain of 1 the layer adds the layout itself to its input,
in the first n channels. These are 0 here, and the features that the layout is made of are large and lie in the others.
"""

import copy

import pytest
import torch

from attnorm import AttentiveNorm2d
from tests.layers import literal
from tests.layers.conftest import ORDERS, features

CHANNELS, ENTITIES, TEMPERATURE, SCALE, SEED = 48, 16, 30.0, 8.0, 5
ROUNDED = 2.0**-9 + 1e-3  # what rounding a share of 1 to bf16 may add, as some ways do with what they normalize
CASES = {
    "eval": {"training": False},
    "train": {"self_sampling": False},
    "self-sampling": {},
    "algorithm1": {"variance": "algorithm1"},
    "batch": {"statistics": "batch"},
    "batch-eval": {"statistics": "batch", "training": False},
}


def layout_layer(*, training=True, **options):
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


def exact_layout(layer, x):
    """Equations 2 to 4 in float64. Not by literal.layout: exp(30 x 30) is infinite."""
    twin, x = copy.deepcopy(layer).double(), x.detach().double()
    logits = literal.conv1x1(x, twin.entities.weight, None)
    if layer.training and layer.self_sampling:
        logits = logits + twin.sampling_gain[:, None, None] * literal.correlation(twin, x, 2, SEED)
    return torch.softmax(TEMPERATURE * logits, 1)


@pytest.mark.promise
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", ["cpp", "one-product", "reference"])
def test_the_layout_that_normalizes(backend, case, order):
    layer = layout_layer(**CASES[case])
    x = SCALE * features(3, CHANNELS, 9, 12, dtype=torch.bfloat16, order=order).float()  # numbers that bf16 holds
    x[:, :ENTITIES] = 0
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x, torch.Generator().manual_seed(SEED))
    assert out.dtype == torch.float32
    assert (out[:, :ENTITIES] - exact_layout(layer, x)).abs().max() < ROUNDED
    if layer.statistics == "instance":
        assert out.is_contiguous(memory_format=ORDERS[order])
