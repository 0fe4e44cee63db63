"""The average of weights against closed forms."""

import pytest
import torch
from torch import nn

from attnorm.layers.spectral import spectral_norm
from attnorm.training.averaging import EMA

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


def test_ramp_up_is_that_of_stylegan2_ada():
    """Its half-life is a share of the images before this batch: 0 at the first update, which copies."""
    module, batch, half_life, ramp_up = weight_of(1.0), 10, 30, 0.5
    ema, expected, nimg = EMA(module, half_life, ramp_up), 1.0, 0
    for weight in (0.5, 0.25, 2.0, 1.0, 3.0, 0.0, 4.0, 1.0, 2.0):
        nn.init.constant_(module.weight, weight)
        ema.update(module, nimg, batch)
        decay = 0.5 ** (batch / max(min(half_life, nimg * ramp_up), 1e-8))
        expected = weight + decay * (expected - weight)
        nimg += batch
        assert ema.module.weight.item() == pytest.approx(expected, rel=1e-12)


def test_no_half_life_is_a_plain_copy():
    module = weight_of(1.0)
    ema = EMA(module, half_life=0, ramp_up=0.05)
    nn.init.constant_(module.weight, 0.1)
    ema.update(module, 0, 10)
    assert ema.module.weight.item() == 0.1


def test_batch_norm_moments_are_copied_not_averaged():
    module = nn.BatchNorm2d(3)
    ema = EMA(module, half_life=1e9, ramp_up=0)
    module(torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 2)
    ema.update(module, 0, 4)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(getattr(ema.module, name), getattr(module, name))
        assert not torch.equal(getattr(ema.module, name), getattr(nn.BatchNorm2d(3), name))


def test_singular_vectors_are_copied_not_averaged():
    torch.manual_seed(0)
    module = spectral_norm(nn.Linear(5, 4))
    ema = EMA(module, half_life=1e9, ramp_up=0)
    averaged, trained = (m.parametrizations.weight[0] for m in (ema.module, module))
    with torch.no_grad():
        module.parametrizations.weight.original.add_(torch.randn(4, 5))
    module(torch.randn(2, 5))  # a training forward moves u and v
    assert not torch.equal(averaged.u, trained.u)
    ema.update(module, 0, 2)
    assert torch.equal(averaged.u, trained.u)
    assert torch.equal(averaged.v, trained.v)
