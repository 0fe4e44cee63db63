"""Adversarial losses. Each takes scores (b,) and returns a scalar; the auxiliary one takes class logits."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))] (paper, §4; the sign that its print lost is restored)."""
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def hinge_generator_loss(fake: Tensor) -> Tensor:
    """-E[D(G(z))]."""
    return -fake.mean()


def auxiliary_loss(class_logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the classes, for real or generated images (AC-GAN, Odena et al. 2017).

    The discriminator's loss is its sum over both (their eq. 3, negated), the generator's that of the generated ones.

    Args:
        class_logits: (b, classes). labels: (b,) integers.
    """
    return functional.cross_entropy(class_logits, labels)
