"""Region statistics against a literal transcription, and laws that they obey."""

import math

import pytest
import torch
from torch import nn

from attnorm.layers import AttentiveNorm2d
from attnorm.metrics.regions import RegionMoments, record_regions, region_table


def literal(value, weights):
    """(mean, std) of each region pixel by pixel: moments per image and channel, averaged by mass."""
    out = []
    for region in range(weights.shape[1]):
        mass = mean = variance = 0.0
        for b in range(value.shape[0]):
            s = weights[b, region].flatten().tolist()
            for c in range(value.shape[1]):
                v, m = value[b, c].flatten().tolist(), sum(s)
                if m == 0:
                    continue
                mu = sum(w * x for w, x in zip(s, v, strict=True)) / m
                mass, mean = mass + m, mean + m * mu
                variance += sum(w * (x - mu) ** 2 for w, x in zip(s, v, strict=True))
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


def test_both_readings_are_those_of_the_literal_form_over_batches():
    (value, layout), other = sample(), sample(2, seed=2)
    found = summarised((value, layout), other)
    value, layout = (torch.cat(pair) for pair in zip((value, layout), other, strict=True))
    one_hot = nn.functional.one_hot(layout.argmax(1), layout.shape[1]).movedim(-1, 1).double()
    for statistics, weights in ((found.weighted, layout), (found.argmax, one_hot)):
        expected = torch.tensor(literal(value, weights), dtype=torch.float64)
        torch.testing.assert_close(statistics.mean, expected[:, 0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(statistics.std, expected[:, 1], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(statistics.share, weights.mean((0, 2, 3)), rtol=1e-12, atol=0)
    [(mean, std)] = literal(value, torch.ones_like(layout[:, :1]))
    assert (found.mean, found.std) == pytest.approx((mean, std), rel=1e-12)


def test_variance_within_regions_and_between_them_is_all_variance():
    value, layout = sample(1)
    found = summarised((value[:, :1], layout)).weighted  # one image and channel: the classic law
    total = value[:, :1].var(correction=0)
    between = (found.share * (found.mean - value[:, :1].mean()).square()).sum()
    assert found.within == pytest.approx((1 - between / total).item(), rel=1e-10)


def test_regions_that_tell_nothing_or_everything():
    value, _ = sample()
    uniform = summarised((value, torch.full((3, 4, 5, 6), 0.25)))
    assert uniform.weighted.within == pytest.approx(1)
    torch.testing.assert_close(uniform.weighted.std, torch.full((4,), uniform.std, dtype=torch.float64))
    assert uniform.argmax.std[1:].isnan().all()  # all pixels go to one entity, the others have none
    assert region_table(uniform)[1][2][:4] == [1, 0.0, None, None]
    layout = torch.zeros(1, 2, 4, 4)
    layout[:, 0, :2], layout[:, 1, 2:] = 1, 1
    constant = summarised((torch.where(layout[:, :1] > 0, 7.0, -3.0), layout))
    for statistics in (constant.weighted, constant.argmax):
        assert (statistics.mean.tolist(), statistics.std.tolist(), statistics.within) == ([7, -3], [0, 0], 0)
    assert (constant.mean, constant.std) == (2, 5)
    assert math.isnan(summarised((torch.ones(1, 4, 4, 4), layout)).weighted.within)
    with pytest.raises(ValueError, match="no features have been seen"):
        RegionMoments().summary()


def test_a_large_mean_does_not_hide_the_deviation():
    value, layout = sample()
    near, far = summarised((value, layout)), summarised((value + 1e6, layout))
    torch.testing.assert_close(far.weighted.std, near.weighted.std, rtol=1e-6, atol=0)
    torch.testing.assert_close(far.weighted.mean - 1e6, near.weighted.mean, rtol=0, atol=1e-6)


def test_the_features_are_those_that_the_layer_normalises():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), AttentiveNorm2d(8, 4, temperature=5.0)).eval()
    x = torch.randn(5, 3, 6, 6)
    with record_regions(model) as regions:
        model(x)
    by_hand = summarised((model[1].value(model[0](x)), model[1].layout(model[0](x))))
    assert set(regions) == {"1"}
    torch.testing.assert_close(regions["1"].summary().weighted.std, by_hand.weighted.std)
