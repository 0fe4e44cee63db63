"""The two figures of a layout at both ends of their ranges, and what records layouts."""

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


@pytest.mark.parametrize("n", [1, 2, 16])
def test_a_uniform_layout_has_the_least_sharpness_and_uses_all_entities(n):
    usage = layout_usage(torch.full((2, n, 4, 4), 1 / n))
    assert usage.sharpness == pytest.approx(1 / n)
    assert usage.effective_entities == pytest.approx(n)


def test_one_entity_that_takes_everything_is_sharp_and_alone():
    assert layout_usage(one_hot([3, 3, 3, 3])) == pytest.approx((1, 1))


def test_two_halves_are_sharp_and_two():
    assert layout_usage(one_hot([0, 0, 5, 5])) == pytest.approx((1, 2))


def test_entities_are_counted_over_all_pictures_and_not_in_each():
    assert layout_usage(torch.cat([one_hot([0, 0]), one_hot([5, 5])])) == pytest.approx((1, 2))


def test_a_mixed_layout_by_hand():
    layout = torch.tensor([[0.7, 0.1], [0.3, 0.9]])[None, :, None]  # two pixels
    mean = (0.4, 0.6)
    expected = math.exp(-sum(p * math.log(p) for p in mean))
    assert layout_usage(layout) == pytest.approx(((0.7 + 0.9) / 2, expected))


def test_a_layout_in_bf16_is_measured_in_float64():
    usage = layout_usage(torch.full((4, 16, 64, 64), 1 / 16, dtype=torch.bfloat16))
    assert usage.effective_entities == pytest.approx(16, rel=1e-9)


@pytest.fixture
def model():
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 8, 1), AttentiveNorm2d(8, 4, temperature=5.0))
    return nn.ModuleDict({"body": inner, "tail": AttentiveNorm2d(8, 2)}).eval()


def run(model, x):
    return model["tail"](model["body"](x))


def test_layouts_are_recorded_by_module_name(model):
    x = torch.randn(2, 3, 6, 6)
    with record_layouts(model) as layouts:
        assert layouts == {}
        run(model, x)
    assert set(layouts) == {"body.1", "tail"}
    features = model["body"][0](x)
    torch.testing.assert_close(layouts["body.1"], model["body"][1].layout(features))
    torch.testing.assert_close(layouts["tail"], model["tail"].layout(model["body"](x)))


def test_layers_that_are_called_by_keyword_are_observed_too():
    layer, x = AttentiveNorm2d(8, 4).eval(), torch.randn(2, 8, 6, 6)
    with record_layouts(layer) as layouts, record_regions(layer) as regions:
        layer(x=x)
    torch.testing.assert_close(layouts[""], layer.layout(x))
    assert regions[""].summary().mean == pytest.approx(layer.value(x).mean().item(), abs=1e-6)


def test_recorded_layouts_carry_no_graph(model):
    with record_layouts(model) as layouts:
        assert run(model, torch.randn(1, 3, 6, 6)).requires_grad
    assert not any(layout.requires_grad for layout in layouts.values())


def test_the_hooks_are_gone_afterwards_even_after_an_error(model):
    with pytest.raises(ValueError, match="x must be"), record_layouts(model) as layouts:
        run(model, torch.randn(1, 3, 6, 6))
        model["tail"](torch.randn(1, 3, 6, 6))  # three channels instead of eight
    before = {name: layout.clone() for name, layout in layouts.items()}
    run(model, torch.randn(1, 3, 5, 5))
    assert all(torch.equal(layouts[name], before[name]) for name in before)
    assert not any(module._forward_hooks for module in model.modules())


def test_recording_changes_neither_output_nor_buffers(model):
    x = torch.randn(1, 3, 6, 6)
    expected, state = run(model, x), {k: v.clone() for k, v in model.state_dict().items()}
    with record_layouts(model):
        assert torch.equal(run(model, x), expected)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_model_without_the_layer_records_nothing():
    model = nn.Conv2d(3, 3, 1)
    with record_layouts(model) as layouts:
        model(torch.randn(1, 3, 2, 2))
    assert layouts == {}
