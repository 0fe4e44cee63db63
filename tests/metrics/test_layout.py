"""How layouts use their entities, features inside regions against a literal transcription, and recording both."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from attnorm.layers import AttentiveNorm2d
from attnorm.metrics.layout import layout_usage, most_varying_entity, record_layouts, record_regions, region_statistics


def one_hot(entities, n=8):
    """A layout (1, n, 1, w) whose pixel i belongs to entities[i] alone."""
    return nn.functional.one_hot(torch.tensor(entities), n).T.float()[None, :, None]


@pytest.mark.parametrize(
    ("layout", "sharpness", "entities"),
    [
        (torch.full((4, 16, 64, 64), 1 / 16, dtype=torch.bfloat16), 1 / 16, 16),
        (one_hot([3, 3, 3, 3]), 1, 1),
        (torch.cat([one_hot([0, 0]), one_hot([5, 5])]), 1, 2),
        (
            torch.tensor([[0.7, 0.1], [0.3, 0.9]])[None, :, None],
            (0.7 + 0.9) / 2,
            math.exp(-0.4 * math.log(0.4) - 0.6 * math.log(0.6)),
        ),
    ],
    ids=["uniform", "one takes all", "halves of two images", "mixed"],
)
def test_usage_by_hand(layout, sharpness, entities):
    assert layout_usage(layout) == pytest.approx((sharpness, entities))


def literal(value, weights):
    """(mean, std) of each region: moments per image and channel, averaged by the number of pixels."""
    s, v = weights[:, :, None].double(), value[:, None]
    mass = s.sum((3, 4))
    mu = (s * v).sum((3, 4)) / mass
    variance = (s * (v - mu[..., None, None]) ** 2).sum((3, 4)) / mass
    share = mass.expand_as(mu) / mass.expand_as(mu).sum((0, 2), keepdim=True)
    return torch.stack([(share * mu).sum((0, 2)), (share * variance).sum((0, 2)).sqrt()], 1)


def sample(batch=3):
    generator = torch.Generator().manual_seed(0)
    value = 1 + torch.randn(batch, 4, 5, 6, generator=generator, dtype=torch.float64)
    return value, torch.softmax(2 * torch.randn(batch, 3, 5, 6, generator=generator, dtype=torch.float64), 1)


def test_regions_are_those_of_the_literal_form():
    value, layout = sample(5)
    found = region_statistics(value, layout)
    regions = nn.functional.one_hot(layout.argmax(1), 3).movedim(-1, 1).double()
    torch.testing.assert_close(torch.stack([found.mean, found.std], 1), literal(value, regions), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.share, regions.mean((0, 2, 3)), rtol=1e-12, atol=0)
    expected = literal(value, torch.ones_like(layout[:, :1]))[0].tolist()
    assert (found.map_mean, found.map_std) == pytest.approx(expected, rel=1e-12)
    assert found.within == pytest.approx((found.share @ found.std.square()).item() / found.map_std**2)


def test_regions_without_pixels_and_constant_regions():
    uniform = region_statistics(sample()[0], torch.full((3, 4, 5, 6), 0.25))  # all pixels go to the first entity
    assert (uniform.within, uniform.std[0].item()) == pytest.approx((1, uniform.map_std))
    assert uniform.rows()[2] == [1, 0, None, None]
    layout = torch.zeros(1, 2, 4, 4)
    layout[:, 0, :2], layout[:, 1, 2:] = 1, 1
    constant = region_statistics(torch.where(layout[:, :1] > 0, 7.0, -3.0), layout)
    assert constant.rows() == [["whole map", 1, 2, 5], [0, 0.5, 7, 0], [1, 0.5, -3, 0]]
    assert constant.within == 0
    assert math.isnan(region_statistics(torch.ones(1, 4, 4, 4), layout).within)


@pytest.mark.promise
def test_a_large_mean_does_not_hide_the_deviation():
    value, layout = sample()
    near, far = region_statistics(value, layout), region_statistics(value + 1e6, layout)
    torch.testing.assert_close(far.std, near.std, rtol=1e-6, atol=0)
    torch.testing.assert_close(far.mean - 1e6, near.mean, rtol=0, atol=1e-6)


@pytest.fixture
def model():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 8, 1), AttentiveNorm2d(8, 4, temperature=5.0))
    return nn.ModuleDict({"body": inner, "tail": AttentiveNorm2d(8, 2)}).eval()


def test_layouts_and_regions_are_recorded_by_module_name_and_nothing_else_changes(model):
    x = torch.randn(2, 3, 6, 6)
    features = model["body"][0](x)
    middle = model["body"](x)
    expected = model["tail"](middle)
    with record_layouts(model) as layouts, record_regions(model) as regions:
        assert torch.equal(model["tail"](x=model["body"](x)), expected)  # by keyword too
    assert set(layouts) == set(regions) == {"body.1", "tail"}
    layer = model["body"][1]
    torch.testing.assert_close(layouts["body.1"], layer.layout(features))
    torch.testing.assert_close(layouts["tail"], model["tail"].layout(middle))
    by_hand = region_statistics(layer.value(features), layer.layout(features))
    torch.testing.assert_close(regions["body.1"].std, by_hand.std, equal_nan=True)
    with record_regions(model) as regions:  # all calls count
        model["body"](x[:1]), model["body"](x[1:])
    torch.testing.assert_close(regions["body.1"].std, by_hand.std, equal_nan=True)
    with pytest.raises(ValueError, match="x must be"), record_layouts(model):
        model["tail"](torch.randn(1, 3, 6, 6))  # three channels instead of eight
    assert not any(module._forward_hooks for module in model.modules())


def test_one_lively_row_does_not_choose_the_entity_that_all_rows_show():
    chance = np.random.default_rng(0)
    # Columns are entities: black but for one row; lively everywhere; nearly as lively, but black in one row.
    scales = np.array([[1.0, 0.2, 0.3], [0.0, 0.2, 0.3], [0.0, 0.2, 0.0]])
    layouts = scales[:, None, :, None, None] * chance.random((3, 3, 3, 5, 5))
    assert most_varying_entity(layouts) == 1
    layouts[:, :, 1] = 0.5
    assert most_varying_entity(layouts[:1]) == 0  # of a single row, the one that varies most
