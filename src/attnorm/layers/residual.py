"""The residual blocks of the generator and the discriminator (supplementary, Fig. 1 and 2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnorm.layers.conditional_norm import ConditionalBatchNorm2d
from attnorm.layers.context import is_transformed
from attnorm.layers.weights import make_conv


class GeneratorBlock(nn.Module):
    """cBN, ReLU, x2, conv, norm, ReLU, conv, plus the upsampled input through a 1x1 convolution.

    The second norm is conditional batch normalization, or the `norm` given: the paper's block with AN has it there,
    between convolution and activation (supplementary, Fig. 2). The first one still carries the label. With
    `keep_batch_norm` the order is conv, conditional batch norm, AN (a public BigGAN block has AN before batch norm).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_classes: int,
        *,
        spectral_norm: bool,
        norm: nn.Module | None = None,
        keep_batch_norm: bool = False,
    ) -> None:
        super().__init__()
        in_its_place = None if keep_batch_norm else norm
        self.norm1 = ConditionalBatchNorm2d(in_channels, num_classes)
        self.conv1 = make_conv(in_channels, out_channels, 3, spectral_norm=spectral_norm)
        self.norm2 = in_its_place or ConditionalBatchNorm2d(out_channels, num_classes)
        self.behind_norm2 = norm if norm is not None and keep_batch_norm else nn.Identity()
        self.conv2 = make_conv(out_channels, out_channels, 3, spectral_norm=spectral_norm)
        self.shortcut = make_conv(in_channels, out_channels, 1, spectral_norm=spectral_norm)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """x (b, in, h, w) -> (b, out, 2 h, 2 w)."""
        # The ReLU is never in place: x also feeds the shortcut.
        h = functional.relu(self.norm1(x, labels))
        h = self.conv1(functional.interpolate(h, scale_factor=2, mode="nearest"))
        h = self.norm2(h, labels) if isinstance(self.norm2, ConditionalBatchNorm2d) else self.norm2(h)
        h = self.conv2(functional.relu(self.behind_norm2(h)))
        # A 1x1 convolution commutes with nearest upsampling and costs a quarter before it.
        return h + functional.interpolate(self.shortcut(x), scale_factor=2, mode="nearest")


class DiscriminatorBlock(nn.Module):
    """ReLU, conv, norm, ReLU, conv, pooling, plus the input through a 1x1 convolution and pooling.

    There is a norm only where one is given (AN). The first block of a network takes the image itself, which is not
    put through a ReLU, and a block that changes neither size nor channels has no 1x1 convolution in its shortcut.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        downsample: bool,
        spectral_norm: bool,
        first: bool = False,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.downsample, self.first = downsample, first
        self.conv1 = make_conv(in_channels, out_channels, 3, spectral_norm=spectral_norm)
        self.norm = nn.Identity() if norm is None else norm
        self.conv2 = make_conv(out_channels, out_channels, 3, spectral_norm=spectral_norm)
        changes = downsample or in_channels != out_channels
        self.shortcut = (
            make_conv(in_channels, out_channels, 1, spectral_norm=spectral_norm) if changes else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (b, in, h, w) -> (b, out, h / 2, w / 2), or the same size without downsampling."""
        h = x if self.first else functional.relu(x)  # never in place: x also feeds the shortcut
        h = self.conv2(functional.relu(self.norm(self.conv1(h))))
        if not self.downsample:
            return h + self.shortcut(x)
        # Pooling commutes with the 1x1 convolution, which then costs a quarter.
        return halved(h) + self.shortcut(halved(x))


def halved(x: Tensor) -> Tensor:
    """`avg_pool2d(x, 2)` for x (b, c, h, w) with even h and w, to the last bit, and with a quicker backward pass.

    PyTorch's fills the gradient with zeros and adds to it pixel by pixel; without overlap it is the upstream gradient,
    a quarter of it, repeated.
    """
    plain = x.shape[2] % 2 or x.shape[3] % 2 or not torch.is_grad_enabled()
    if plain or torch.compiler.is_compiling() or is_transformed():
        return functional.avg_pool2d(x, 2)
    out: Tensor = _Halved.apply(x)
    return out


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        return functional.interpolate(grads[0] * 0.25, scale_factor=2, mode="nearest")
