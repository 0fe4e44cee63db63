"""The two statistics of a layout at both ends of their ranges, and what records layouts."""

import math

import pytest
import torch
from torch import nn

from attnorm.layers import AttentiveNorm2d
from attnorm.metrics.layout import layout_usage, record_layouts
from attnorm.metrics.regions import record_regions


def one_hot(entities, n=8):
    """A layout (1, n, 1, w) whose pixel i belongs to entities[i] alone."""
    return nn.functional.one_hot(torch.tensor(entities), n).T.float()[None, :, None]


MIXED = torch.tensor([[0.7, 0.1], [0.3, 0.9]])[None, :, None]  # two pixels


@pytest.mark.parametrize(
    ("layout", "sharpness", "entities"),
    [
        (torch.full((2, 1, 4, 4), 1.0), 1, 1),
        (torch.full((4, 16, 64, 64), 1 / 16, dtype=torch.bfloat16), 1 / 16, 16),
        (one_hot([3, 3, 3, 3]), 1, 1),
        (one_hot([0, 0, 5, 5]), 1, 2),
        (torch.cat([one_hot([0, 0]), one_hot([5, 5])]), 1, 2),
        (MIXED, (0.7 + 0.9) / 2, math.exp(-0.4 * math.log(0.4) - 0.6 * math.log(0.6))),
    ],
    ids=["one entity", "uniform", "one takes all", "halves", "halves of two images", "mixed"],
)
def test_usage_by_hand(layout, sharpness, entities):
    assert layout_usage(layout) == pytest.approx((sharpness, entities))


@pytest.fixture
def model():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 8, 1), AttentiveNorm2d(8, 4, temperature=5.0))
    return nn.ModuleDict({"body": inner, "tail": AttentiveNorm2d(8, 2)}).eval()


def run(model, x):
    return model["tail"](model["body"](x))


def test_layouts_are_recorded_by_module_name_and_nothing_else_changes(model):
    x = torch.randn(2, 3, 6, 6)
    expected = run(model, x)
    with record_layouts(model) as layouts:
        assert torch.equal(run(model, x), expected)
    assert set(layouts) == {"body.1", "tail"}
    torch.testing.assert_close(layouts["body.1"], model["body"][1].layout(model["body"][0](x)))
    torch.testing.assert_close(layouts["tail"], model["tail"].layout(model["body"](x)))
    assert not any(layout.requires_grad for layout in layouts.values())


def test_layers_that_are_called_by_keyword_are_observed_too():
    layer, x = AttentiveNorm2d(8, 4).eval(), torch.randn(2, 8, 6, 6)
    with record_layouts(layer) as layouts, record_regions(layer) as regions:
        layer(x=x)
    torch.testing.assert_close(layouts[""], layer.layout(x))
    assert regions[""].summary().mean == pytest.approx(layer.value(x).mean().item(), abs=1e-6)


def test_the_hooks_are_removed_even_after_an_error(model):
    with pytest.raises(ValueError, match="x must be"), record_layouts(model):
        model["tail"](torch.randn(1, 3, 6, 6))  # three channels instead of eight
    assert not any(module._forward_hooks for module in model.modules())
