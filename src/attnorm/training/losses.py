"""Losses: the hinge loss of class-conditional training, and eq. 9 and 10 of inpainting.

Scores are (b,), images (b, 3, h, w) in [-1, 1], masks (b, 1, h, w), non-zero where pixels are missing; losses are
scalars.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from attnorm.layers.context import without_autocast

# (images, masks) -> scores (b,) of each critic. Not one tensor, or the penalty of one would run through all.
Critic = Callable[[Tensor, Tensor], Sequence[Tensor]]


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] (paper, §4, with the missing sign)."""
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def hinge_generator_loss(fake: Tensor) -> Tensor:
    """-E[D(G(z))]."""
    return -fake.mean()


class CriticLoss(NamedTuple):
    """The loss, the estimated distance between real and completed images, and the unweighted penalty."""

    loss: Tensor
    wasserstein: Tensor
    penalty: Tensor


def composite(completion: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """The completed image of eq. 9: the completion inside the mask, the original outside."""
    return torch.where(mask != 0, completion, truth)


def reconstruction_loss(image: Tensor, truth: Tensor) -> Tensor:
    """The first term of eq. 9 for one stage: mean |image - truth| over the whole image, in float32 outside autocast.

    The authors' code weights missing pixels with 1.68 and known ones with 1.44, each averaged over its area, and trains
    only the coarse stage in phase 1. Eq. 9 has the refined stage only.
    """
    with without_autocast(truth):
        return (image - truth).abs().mean()


def critic_loss(
    critic: Critic, real: Tensor, fake: Tensor, mask: Tensor, mixing: Tensor, penalty_weight: float = 10.0
) -> CriticLoss:
    """Eq. 10, summed over the critics: E[D(fake)] - E[D(real)] + weight E[(||mask grad D(mixed)|| - 1)^2].

    mixed = t fake + (1 - t) real, where `mixing` is t, (b, 1, 1, 1), uniform in [0, 1). Real and fake differ inside the
    mask only, so the gradient is taken there, as in CA's code. Everything runs in float32 outside autocast. Mixtures
    have their own call, because only their backward pass is differentiated again.
    """
    with without_autocast(real):
        real, fake, mixing = (t.detach().to(torch.promote_types(t.dtype, torch.float32)) for t in (real, fake, mixing))
        mixed = (mixing * fake + (1 - mixing) * real).requires_grad_()
        pairs = [scores.chunk(2) for scores in critic(torch.cat([real, fake]), mask.repeat(2, 1, 1, 1))]
        wasserstein = torch.stack([(of_real - of_fake).mean() for of_real, of_fake in pairs]).sum()
        penalty = gradient_penalty(critic(mixed, mask), mixed, mask)
        return CriticLoss(penalty_weight * penalty - wasserstein, wasserstein, penalty)


def gradient_penalty(scores: Sequence[Tensor], images: Tensor, mask: Tensor) -> Tensor:
    """The sum over the critics of E[(||mask * d score / d image||_2 - 1)^2], differentiable.

    The derivative of the norm is 0 where the gradient is 0; the square root of a sum of squares would give NaN.
    """
    total = images.new_zeros(())
    for of_one_critic in scores:
        (gradient,) = torch.autograd.grad(of_one_critic.sum(), images, create_graph=True)
        norms = torch.linalg.vector_norm((gradient * (mask != 0)).flatten(1), dim=1)
        total = total + (norms - 1).square().mean()
    return total


def adversarial_loss(critic: Critic, fake: Tensor, mask: Tensor) -> Tensor:
    """The second term of eq. 9, unweighted: -E[D(fake)], summed over the critics; in float32 outside autocast."""
    with without_autocast(fake):
        scores = critic(fake.to(torch.promote_types(fake.dtype, torch.float32)), mask)
        return -torch.stack([of_one_critic.mean() for of_one_critic in scores]).sum()
