"""DiffAugment (Zhao et al. 2020): random changes of every image that the discriminator sees, real or generated.

The changes are differentiable, so the generator learns through them. They prevent a discriminator from memorizing a
small set. Definitions are those of section 3.2 of the paper, with the strengths of its code.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from attnorm.layers.context import is_channels_last

Augmentation = Literal["color", "translation", "cutout"]
SHIFT, CUT = 1 / 8, 1 / 2  # relative to the side


def augmented(x: Tensor, kinds: Sequence[Augmentation], generator: torch.Generator) -> Tensor:
    """Images (b, 3, h, w) in [-1, 1], each changed independently; the result may leave [-1, 1]."""
    for kind in kinds:
        x = _CHANGES[kind](x, generator)
    return x


def _color(x: Tensor, generator: torch.Generator) -> Tensor:
    """Adds U(-1/2, 1/2), then scales the distance to grey by U(0, 2) and that to the image's mean by U(1/2, 3/2)."""
    brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, generator=generator, device=x.device).to(x.dtype)
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (contrast + 0.5)


def _translation(x: Tensor, generator: torch.Generator) -> Tensor:
    """Moves each image by whole pixels, from -side/8 to +side/8 in both directions."""
    taken, inside = [], []
    for side in x.shape[2:]:
        most = int(side * SHIFT + 0.5)
        shift = torch.randint(-most, most + 1, (len(x), 1), generator=generator, device=x.device)
        position = torch.arange(side, device=x.device) + shift  # (b, side): the source row or column
        inside.append((position >= 0) & (position < side))
        taken.append(position.clamp(0, side - 1))
    rows, columns = taken
    # Two gathers, because the gradient of indexing with tensors would sort the indices.
    moved = x.gather(2, rows[:, None, :, None].expand_as(x)).gather(3, columns[:, None, None, :].expand_as(x))
    order = torch.channels_last if is_channels_last(x) else torch.contiguous_format
    return moved.contiguous(memory_format=order) * (inside[0][:, None, :, None] & inside[1][:, None, None, :])


def _cutout(x: Tensor, generator: torch.Generator) -> Tensor:
    """Sets a square of half the side to 0. Its centre is anywhere in the image, so part of it may lie outside."""
    outside = torch.zeros(len(x), 1, 1, 1, dtype=torch.bool, device=x.device)
    for axis, side in ((2, x.shape[2]), (3, x.shape[3])):
        cut = int(side * CUT + 0.5)
        start = torch.randint(0, side + 1 - cut % 2, (len(x), 1, 1, 1), generator=generator, device=x.device) - cut // 2
        position = torch.arange(side, device=x.device).view(-1, *[1] * (3 - axis))
        outside = outside | (position < start) | (position >= start + cut)
    return x * outside


_CHANGES = {"color": _color, "translation": _translation, "cutout": _cutout}
