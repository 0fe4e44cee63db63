"""The average of weights against closed forms, and standing statistics against a naive computation in float64."""

import pytest
import torch
from torch import nn

from attnorm import AttentiveNorm2d
from attnorm.layers import spectral_norm
from attnorm.training.averaging import EMA, measure_standing_statistics

pytestmark = pytest.mark.promise


def weight_of(value):
    module = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(module.weight, value)
    return module


def test_a_changing_weight_is_averaged_as_the_closed_form_says():
    module = weight_of(0.0)
    ema, decay = EMA(module, half_life=7, ramp_up=0), 0.5 ** (2 / 7)
    for step in range(1, 21):
        nn.init.constant_(module.weight, float(step))
        ema.update(module, 2 * (step - 1), 2)
    expected = sum((1 - decay) * decay ** (20 - step) * step for step in range(1, 21))
    assert ema.module.weight.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("half_life", "ramp_up"), [(30, 0.5), (0, 0.05)])  # no half-life is a plain copy
def test_ramp_up_is_that_of_stylegan2_ada(half_life, ramp_up):
    """Its half-life is a share of the images before this batch: 0 at the first update, which copies."""
    module, batch = weight_of(1.0), 10
    ema, expected, nimg = EMA(module, half_life, ramp_up), 1.0, 0
    for weight in (0.5, 0.25, 2.0, 1.0, 3.0, 0.0, 4.0, 1.0, 2.0):
        nn.init.constant_(module.weight, weight)
        ema.update(module, nimg, batch)
        decay = 0.5 ** (batch / max(min(half_life, nimg * ramp_up), 1e-8))
        expected = weight + decay * (expected - weight)
        nimg += batch
        assert ema.module.weight.item() == pytest.approx(expected, rel=1e-12)


def test_buffers_are_copied_not_averaged():
    """Moments of a batch norm and singular vectors of spectral norm."""
    torch.manual_seed(0)
    module = nn.Sequential(spectral_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4))
    ema = EMA(module, half_life=1e9, ramp_up=0)
    with torch.no_grad():
        module[0].parametrizations.weight.original.normal_()
    module(torch.randn(4, 3, 5, 5))
    pairs = list(zip(ema.module.buffers(), module.buffers(), strict=True))
    assert not any(torch.equal(averaged, trained) for averaged, trained in pairs)
    ema.update(module, 0, 4)
    assert all(torch.equal(averaged, trained) for averaged, trained in pairs)


def batches(count=5):
    """Batches of different scale and shift: their moments differ, and a moving average would prefer the last."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(6, 3, 4, 4, generator=generator) * (i + 1) + 10 * i for i in range(count)]


def test_moments_are_the_mean_of_the_batches_moments_and_dropout_stays_off():
    network, data = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5)), batches()
    network(torch.full((6, 3, 4, 4), 1e4))  # what training left must be forgotten
    modes = []

    def forward(index):
        network(data[index])
        modes.append([module.training for module in network])

    measure_standing_statistics(network, forward, len(data))
    assert modes == [[True, False]] * len(data)
    flat = [x.double().transpose(0, 1).flatten(1) for x in data]
    mean = torch.stack([x.mean(1) for x in flat]).mean(0)
    variance = torch.stack([x.var(1, unbiased=True) for x in flat]).mean(0)
    torch.testing.assert_close(network[0].running_mean.double(), mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network[0].running_var.double(), variance, rtol=1e-5, atol=1e-5)


def test_regional_moments_of_a_batch_are_measured_too():
    torch.manual_seed(0)
    network = nn.Sequential(AttentiveNorm2d(3, 2, statistics="batch", temperature=1.0, spectral_norm=True))
    layer, data = network[0], batches()
    layer.train()(torch.full((6, 3, 4, 4), 1e4))  # what training left must be forgotten
    with torch.no_grad():
        for name in ("key", "query", "value"):
            getattr(layer, name).parametrizations.weight.original.add_(1)  # an iteration would show
    frozen = {name: b.clone() for name, b in layer.named_buffers() if name.endswith((".u", ".v"))}
    measure_standing_statistics(network, lambda i: network(data[i]), len(data))
    assert not any(module.training for module in network.modules())
    assert (layer.momentum, layer.self_sampling) == (0.1, True)
    assert all(torch.equal(b, dict(layer.named_buffers())[name]) for name, b in frozen.items())
    means, variances = [], []
    for x in data:
        s = layer.layout(x).double()[:, None]  # in eval mode: without sampling
        v = layer.value(x).double()[:, :, None]
        mean = (s * v).sum((0, 3, 4)) / s.sum((0, 3, 4))
        spread = (v - mean[None, :, :, None, None]) ** 2
        means.append(mean)
        variances.append((s * spread).sum((0, 3, 4)) / s.sum((0, 3, 4)))
    torch.testing.assert_close(layer.running_mean.double(), torch.stack(means).mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.running_variance.double(), torch.stack(variances).mean(0), rtol=1e-4, atol=1e-4)
