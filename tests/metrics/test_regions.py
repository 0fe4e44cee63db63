"""Region statistics against a literal transcription, and laws that they obey."""

import math

import pytest
import torch
from torch import nn

from attnorm.layers import AttentiveNorm2d
from attnorm.metrics.regions import RegionMoments, record_regions


def literal(value, weights):
    """(mean, std) of each region pixel by pixel: moments per picture and channel, averaged by mass."""
    batch, channels = value.shape[:2]
    out = []
    for region in range(weights.shape[1]):
        mass = mean = variance = 0.0
        for b in range(batch):
            s = weights[b, region].flatten().tolist()
            for c in range(channels):
                v = value[b, c].flatten().tolist()
                m = sum(s)
                if m == 0:
                    continue
                mu = sum(w * x for w, x in zip(s, v, strict=True)) / m
                mass += m
                mean += m * mu
                variance += m * sum(w * (x - mu) ** 2 for w, x in zip(s, v, strict=True)) / m
        out.append((mean / mass, math.sqrt(variance / mass)) if mass else (math.nan, math.nan))
    return out


def sample(batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    value = 1 + torch.randn(batch, 4, 5, 6, generator=generator, dtype=torch.float64)
    return value, torch.softmax(2 * torch.randn(batch, 3, 5, 6, generator=generator, dtype=torch.float64), 1)


def summarised(*batches):
    moments = RegionMoments()
    for value, layout in batches:
        moments.update(value, layout)
    return moments.summary()


def one_hot(layout):
    return nn.functional.one_hot(layout.argmax(1), layout.shape[1]).movedim(-1, 1).double()


def test_both_readings_are_those_of_the_literal_form():
    value, layout = sample()
    found = summarised((value, layout))
    for statistics, weights in ((found.weighted, layout), (found.argmax, one_hot(layout))):
        expected = torch.tensor(literal(value, weights), dtype=torch.float64)
        torch.testing.assert_close(statistics.mean, expected[:, 0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(statistics.std, expected[:, 1], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(statistics.share, weights.mean((0, 2, 3)), rtol=1e-12, atol=0)
    [(mean, std)] = literal(value, torch.ones_like(layout[:, :1]))
    assert (found.mean, found.std) == pytest.approx((mean, std), rel=1e-12)


def test_batches_add_up():
    (first, layout), (second, other) = sample(seed=1), sample(2, seed=2)
    together = summarised((torch.cat([first, second]), torch.cat([layout, other])))
    apart = summarised((first, layout), (second, other))
    for way in ("weighted", "argmax"):
        for one, two in zip(getattr(together, way), getattr(apart, way), strict=True):
            torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(two), rtol=1e-12, atol=0)


def test_what_is_within_regions_and_between_them_is_all_variance():
    value, layout = sample(1)
    found = summarised((value[:, :1], layout)).weighted  # one picture and channel: the classic law
    total = value[:, :1].var(correction=0)
    between = (found.share * (found.mean - value[:, :1].mean()).square()).sum()
    assert found.within == pytest.approx((1 - between / total).item(), rel=1e-10)


def test_a_uniform_layout_has_the_whole_map_in_every_region():
    value, _ = sample()
    found = summarised((value, torch.full((3, 4, 5, 6), 0.25)))
    assert found.weighted.within == pytest.approx(1)
    torch.testing.assert_close(found.weighted.std, torch.full((4,), found.std, dtype=torch.float64))
    assert found.argmax.std[1:].isnan().all()  # all pixels go to one entity, the others have none
    assert found.argmax.share.tolist() == [1, 0, 0, 0]


def test_regions_of_constant_features_have_no_deviation():
    layout = torch.zeros(1, 2, 4, 4)
    layout[:, 0, :2], layout[:, 1, 2:] = 1, 1
    value = torch.where(layout[:, :1] > 0, 7.0, -3.0)
    found = summarised((value, layout))
    for statistics in (found.weighted, found.argmax):
        assert statistics.mean.tolist() == [7, -3]
        assert statistics.std.tolist() == [0, 0]
        assert statistics.within == 0
    assert (found.mean, found.std) == (2, 5)


def test_a_large_mean_does_not_drown_the_deviation():
    value, layout = sample()
    near, far = summarised((value, layout)), summarised((value + 1e6, layout))
    torch.testing.assert_close(far.weighted.std, near.weighted.std, rtol=1e-6, atol=0)
    torch.testing.assert_close(far.weighted.mean - 1e6, near.weighted.mean, rtol=0, atol=1e-6)


def test_a_constant_map_has_no_share_of_variance():
    _, layout = sample()
    found = summarised((torch.ones(3, 4, 5, 6), layout))
    assert math.isnan(found.weighted.within)
    assert found.std == 0


def test_nothing_seen_is_refused():
    with pytest.raises(ValueError, match="no features have been seen"):
        RegionMoments().summary()


def test_the_features_are_those_that_the_layer_normalises():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), AttentiveNorm2d(8, 4, temperature=5.0)).eval()
    x = torch.randn(5, 3, 6, 6)
    with record_regions(model) as regions:
        expected = model(x)
        model(x[:2])
    assert set(regions) == {"1"}
    layer, features = model[1], model[0](torch.cat([x, x[:2]]))
    by_hand = summarised((layer.value(features), layer.layout(features)))
    torch.testing.assert_close(regions["1"].summary().weighted.std, by_hand.weighted.std)
    assert torch.equal(model(x), expected)
    assert not model[1]._forward_hooks
