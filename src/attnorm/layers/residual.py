"""Residual blocks of the generator and the discriminator (supplementary, Fig. 1 and 2), and their norm."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnorm.layers.checks import require_labels, require_whole
from attnorm.layers.context import without_autocast
from attnorm.layers.weights import make_conv


class ConditionalBatchNorm2d(nn.Module):
    """Batch normalization whose gain and bias come from the label (Dumoulin et al. 2017), or a mixture of labels.

    Mixtures (b, num_classes) mix the classes' gains and biases linearly, as the paper does to interpolate between
    categories (Fig. 8).

    Shapes:
        x (b, c, h, w); labels (b,) integers in [0, num_classes), or (b, num_classes) floating point -> shape of x.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        require_whole(num_features=num_features, num_classes=num_classes)
        self.num_classes = num_classes
        self.norm = nn.BatchNorm2d(num_features, affine=False)
        self.gain = nn.Embedding(num_classes, num_features)
        self.bias = nn.Embedding(num_classes, num_features)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        require_labels(labels, x.shape[0], self.num_classes, mixtures=True)
        gain, bias = (self._per_image(table, labels).to(x.dtype) for table in (self.gain, self.bias))
        return torch.addcmul(bias[:, :, None, None], self.norm(x), gain[:, :, None, None])

    def _per_image(self, table: nn.Embedding, labels: Tensor) -> Tensor:
        if labels.ndim == 2:
            with without_autocast(labels):
                return labels.to(table.weight.dtype) @ table.weight
        return table(labels)


class GeneratorBlock(nn.Module):
    """cBN, ReLU, x2, conv, norm, ReLU, conv, plus the upsampled input through a 1x1 convolution.

    The second norm is conditional batch norm, or `norm`: the paper has AN there, between convolution and activation
    (supplementary, Fig. 2), and the first norm still carries the label. With `keep_batch_norm` the order is conv,
    conditional batch norm, AN.
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
        # Not in place: x is also the input of the shortcut.
        h = functional.relu(self.norm1(x, labels))
        h = self.conv1(functional.interpolate(h, scale_factor=2, mode="nearest"))
        h = self.norm2(h, labels) if isinstance(self.norm2, ConditionalBatchNorm2d) else self.norm2(h)
        h = self.conv2(functional.relu(self.behind_norm2(h)))
        # A 1x1 convolution commutes with nearest upsampling, and costs a quarter before it.
        return h + functional.interpolate(self.shortcut(x), scale_factor=2, mode="nearest")


class DiscriminatorBlock(nn.Module):
    """ReLU, conv, norm, ReLU, conv, pooling, plus the input through a 1x1 convolution and pooling.

    `norm` is AN or None. The first block of a network has no ReLU on its input, the image. A block that changes neither
    size nor channels has no 1x1 convolution in its shortcut.
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
        h = x if self.first else functional.relu(x)  # not in place: x is also the input of the shortcut
        h = self.conv2(functional.relu(self.norm(self.conv1(h))))
        if not self.downsample:
            return h + self.shortcut(x)
        # Pooling commutes with the 1x1 convolution, which then costs a quarter.
        return functional.avg_pool2d(h, 2) + self.shortcut(functional.avg_pool2d(x, 2))
