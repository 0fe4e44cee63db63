"""The hinge losses against figures worked out by hand."""

import pytest
import torch

from attnorm.training.losses import hinge_discriminator_loss, hinge_generator_loss

pytestmark = pytest.mark.promise


def test_discriminator_loss_by_hand():
    real, fake = torch.tensor([2.0, 0.5, -1.0, 1.0]), torch.tensor([-3.0, 0.0, 1.0, -1.0])
    # max(0, 1 - real) = 0, 0.5, 2, 0; max(0, 1 + fake) = 0, 1, 2, 0
    assert hinge_discriminator_loss(real, fake).item() == 2.5 / 4 + 3 / 4


def test_beyond_the_margin_there_is_no_gradient_and_inside_it_real_goes_up_and_fake_down():
    real = torch.tensor([1.5, 0.0], requires_grad=True)
    fake = torch.tensor([-1.5, 0.0], requires_grad=True)
    hinge_discriminator_loss(real, fake).backward()
    assert real.grad.tolist() == [0.0, -0.5]
    assert fake.grad.tolist() == [0.0, 0.5]


def test_generator_loss_wants_higher_scores_without_a_margin():
    fake = torch.tensor([3.0, -1.0], requires_grad=True)
    loss = hinge_generator_loss(fake)
    loss.backward()
    assert loss.item() == -1.0
    assert fake.grad.tolist() == [-0.5, -0.5]
