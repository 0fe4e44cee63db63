"""The hinge losses, and eq. 9 and 10, against numbers worked out by hand and against slow versions."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from attnorm.models.inpainting import InpaintingCritic, InpaintingCriticConfig
from attnorm.training.losses import (
    adversarial_loss,
    composite,
    critic_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    reconstruction_loss,
)

pytestmark = pytest.mark.promise


def images_and_mask(batch=3, size=8, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    real, fake = (torch.rand(batch, 3, size, size, dtype=dtype, generator=generator) * 2 - 1 for _ in range(2))
    mask = torch.zeros(batch, 1, size, size, dtype=dtype)
    for index in range(batch):
        mask[index, :, index : index + 4, 2 : 5 + index] = 1
    return real, composite(fake, real, mask), mask, torch.rand(batch, 1, 1, 1, dtype=dtype, generator=generator)


def test_the_hinge_losses_by_hand():
    real, fake = (torch.tensor(scores, requires_grad=True) for scores in ([2.0, 0.5, -1, 1.5], [-3.0, 0.0, 1, -1.5]))
    loss = hinge_discriminator_loss(real, fake)
    # max(0, 1 - real) = 0, 0.5, 2, 0; max(0, 1 + fake) = 0, 1, 2, 0: beyond the margin there is no gradient
    assert loss.item() == 2.5 / 4 + 3 / 4
    gradients = torch.autograd.grad(loss, [real, fake])
    assert [g.tolist() for g in gradients] == [[0, -0.25, -0.25, 0], [0, 0.25, 0.25, 0]]
    assert hinge_generator_loss(torch.tensor([3.0, -1.0])).item() == -1.0


def test_reconstruction_by_hand():
    truth = torch.zeros(1, 3, 2, 2)
    image = truth + torch.tensor([[0.5, -0.25], [0.0, 1.0]])
    assert reconstruction_loss(image, truth).item() == (0.5 + 0.25 + 1) / 4


class Linear(nn.Module):
    """Scores <weight_k, image> + bias: its gradient is its weight everywhere."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, image, mask):
        return (image.flatten(1) @ self.weight.flatten(1).t() + 3.0).unbind(1)


def test_the_loss_of_linear_critics_in_closed_form():
    real, fake, mask, mixing = images_and_mask()
    critic = Linear(torch.randn(2, 3, 8, 8, dtype=torch.float64))
    found = critic_loss(critic, real, fake, mask, mixing, penalty_weight=10.0)
    difference = torch.einsum("bchw,kchw->bk", real - fake, critic.weight).sum(1).mean()
    norms = (critic.weight[None] * mask[:, None]).square().sum((2, 3, 4)).sqrt()  # (b, k): inside the mask only
    penalty = (norms - 1).square().mean(0).sum()
    torch.testing.assert_close(found.wasserstein, difference)
    torch.testing.assert_close(found.penalty, penalty)
    torch.testing.assert_close(found.loss, 10 * penalty - difference)
    expected = torch.autograd.grad(10 * penalty - difference, critic.weight)[0]
    torch.testing.assert_close(torch.autograd.grad(found.loss, critic.weight)[0], expected)
    adversarial = -torch.einsum("bchw,kchw->bk", fake, critic.weight).sum(1).mean() - 2 * 3
    torch.testing.assert_close(adversarial_loss(critic, fake, mask), adversarial)


def test_the_penalty_of_a_nonlinear_critic_is_taken_at_the_mixture():
    """D(x) = sum of x^2 / 2 has the gradient x."""
    real, fake, mask, mixing = images_and_mask()

    def critic(image, mask):
        return (image.square().flatten(1).sum(1) / 2,)

    mixed = mixing * fake + (1 - mixing) * real
    norms = (mixed * mask).flatten(1).norm(dim=1)
    found = critic_loss(critic, real, fake, mask, mixing)
    torch.testing.assert_close(found.penalty, (norms - 1).square().mean())


@pytest.fixture
def critic():
    torch.manual_seed(0)
    return InpaintingCritic(InpaintingCriticConfig(image_size=32, local_size=16, width=4))


@pytest.mark.parametrize("name", ["whole.0.weight", "local.4.weight", "local.9.weight", "whole.9.bias"])
def test_gradients_of_the_critics_loss_are_those_of_finite_differences(critic, name):
    critic.double()
    inputs = images_and_mask(2, 32)

    def loss(weight):
        return critic_loss(lambda *given: functional_call(critic, {name: weight}, given), *inputs).loss

    assert torch.autograd.gradcheck(loss, critic.get_parameter(name), fast_mode=True)


def test_a_critic_whose_gradient_is_zero_has_a_finite_gradient(critic):
    for parameter in critic.parameters():
        nn.init.zeros_(parameter)
    real, fake, mask, mixing = images_and_mask(2, 32, torch.float32)
    found = critic_loss(critic, real, fake, mask, mixing)
    assert found.penalty.item() == 2.0  # (0 - 1)^2 for each of the two
    found.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in critic.parameters())
    nothing = critic_loss(critic, real, fake, 0 * mask, mixing)  # an empty mask is as far from a gradient of 1
    nothing.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in critic.parameters())


def test_the_critic_runs_in_float32_whatever_surrounds_it(critic):
    real, fake, mask, mixing = images_and_mask(2, 32, torch.float32)
    expected = critic_loss(critic, real, fake, mask, mixing)
    adversarial = adversarial_loss(critic, fake, mask)
    with torch.autocast("cpu", torch.bfloat16):
        found = critic_loss(critic, real, fake, mask, mixing)
        assert torch.equal(adversarial_loss(critic, fake, mask), adversarial)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
