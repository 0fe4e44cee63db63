"""The two-stage inpainting generator of the paper, its baselines, and its critics (supplementary, §2)."""

from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from attnorm.config import Frozen
from attnorm.layers import ContextualAttention2d
from attnorm.layers.weights import make_conv, make_linear
from attnorm.models.class_conditional import AttentiveNormConfig
from attnorm.models.pretrained import PretrainedNetwork

SMALLEST_IMAGE, LARGEST_IMAGE, LARGEST_WIDTH = 16, 1 << 12, 1 << 10


class Conv(NamedTuple):
    """Conv(k, c, s, d) of the supplementary, followed by ELU; channels of the paper's width."""

    kernel: int
    channels: int
    stride: int = 1
    dilation: int = 1


UP = 2  # x2, nearest neighbour
Table = tuple[Conv | int, ...]

# The supplementary's table. Other widths scale its channels.
PAPER_WIDTH = 32
ENCODER: Table = (Conv(5, 32), Conv(3, 64, 2), Conv(3, 64), Conv(3, 128, 2), Conv(3, 128))
BOTTLENECK: Table = tuple(Conv(3, 128, dilation=d) for d in (2, 4, 8, 16))
DENSE: Table = (Conv(3, 128), Conv(3, 128))  # conv11 and conv12 of the authors' code, an option
DECODER_1: Table = (UP, Conv(3, 64), Conv(3, 64), UP, Conv(3, 32), Conv(3, 16))  # then Conv(3, 3) and the clip
DECODER_2: Table = (Conv(3, 128), Conv(3, 128), *DECODER_1)
AFTER_NORM: Table = (Conv(3, 128), Conv(3, 128))
ENCODER_STRIDE, DEEP = 4, 128  # of the encoder: its stride and last channels

# "The used discriminators are the same as those in [CA]": 5x5 convolutions of stride 2 with a leaky ReLU of 0.2, then
# one linear layer; channels at width 64.
CRITIC_WIDTH = 64
WHOLE_CRITIC = (64, 128, 256, 256)
LOCAL_CRITIC = (64, 128, 256, 512)

INPUT = 3 + 1 + 1  # channels: image, ones, mask
# Glorot weights, as in TensorFlow. With a gain of sqrt(2), the clip to [-1, 1] cuts most of the untrained network's
# output and its gradient.
GAIN = 1.0


class BranchConfig(AttentiveNormConfig):
    """The long-range layer of the second stage; inherited fields are for attentive normalization.

    No affine by default, as in the authors' inpainting runs.
    """

    kind: Literal["attentive_norm", "contextual_attention", "none"] = "attentive_norm"
    affine: Literal["entity", "shared", "none"] = "none"


class InpaintingGeneratorConfig(Frozen):
    """A generator.

    Args:
        image_size: side of the images that it is trained on; it takes others as well.
        width: channels after its first convolution, 32 in the paper.
        branch: the attentive branch of the second stage.
        dense_bottleneck: two convolutions without dilation behind the dilated ones of both stages. All dilations are
            even, so that odd and even positions never mix without them.
    """

    image_size: int = Field(256, ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)
    width: int = Field(PAPER_WIDTH, ge=2, le=LARGEST_WIDTH, multiple_of=2)
    branch: BranchConfig = BranchConfig()
    dense_bottleneck: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.image_size % self.stride:
            raise ValueError(f"generator.image_size must be a multiple of {self.stride}, got {self.image_size}")
        if self.branch.kind == "attentive_norm":
            self.branch.check_entities("generator.branch", self.image_size // ENCODER_STRIDE)
        return self

    @property
    def stride(self) -> int:
        """The height and width of images must be multiples of this."""
        return ENCODER_STRIDE * (2 if self.branch.kind == "contextual_attention" else 1)


class InpaintingCriticConfig(Frozen):
    """Two critics: of the whole image, and of a square of `local_size` pixels around the mask."""

    image_size: int = Field(256, ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)
    local_size: int = Field(128, ge=SMALLEST_IMAGE // 2)
    width: int = Field(CRITIC_WIDTH, ge=1, le=LARGEST_WIDTH)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.local_size > self.image_size:
            raise ValueError(f"critic.local_size must be at most image_size, {self.image_size}")
        return self


class Inpainted(NamedTuple):
    """The images of both stages, (b, 3, h, w) float32 in [-1, 1]."""

    coarse: Tensor
    refined: Tensor


class InpaintingGenerator(PretrainedNetwork, pipeline_tag="image-to-image"):
    """Images and masks in, completed images out (supplementary, Fig. 3). docs/decisions.md has the authors' code.

    X is the image with 0, mid-grey, inside the mask, a channel of ones, which distinguish grey pixels from the zeros of
    the padding, and the mask. The second stage reads concat(coarse, X); its two branches have encoders of their own.

    Shapes:
        images (b, 3, h, w) in [-1, 1], whose content inside the mask is not used; mask (b, 1, h, w), or (1, 1, h, w)
        for all, non-zero where pixels are missing; h and w multiples of `config.stride` -> `Inpainted`.
    """

    config_class: ClassVar[type[Frozen]] = InpaintingGeneratorConfig

    def __init__(self, config: InpaintingGeneratorConfig) -> None:
        super().__init__()
        self.config = config
        width, deep = config.width, config.width * DEEP // PAPER_WIDTH
        bottleneck = (*BOTTLENECK, *DENSE) if config.dense_bottleneck else BOTTLENECK
        self.coarse = _stack((*ENCODER, *bottleneck, *DECODER_1), INPUT, width, to_image=True)
        self.convolutional = _stack((*ENCODER, *bottleneck), 3 + INPUT, width)
        self.attentive = AttentiveBranch(config.branch, 3 + INPUT, width)
        self.refine = _stack(DECODER_2, 2 * deep, width, to_image=True)

    def forward(self, images: Tensor, mask: Tensor) -> Inpainted:
        stride = self.config.stride
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % stride or images.shape[3] % stride:
            raise ValueError(f"images must be (b, 3, h, w) with h and w multiples of {stride}, got {images.shape}")
        if mask.ndim != 4 or mask.shape[0] not in (1, images.shape[0]) or mask.shape[1:] != (1, *images.shape[2:]):
            raise ValueError(f"mask must be (b or 1, 1, h, w) to fit images {images.shape}, got {mask.shape}")
        mask = (mask != 0).expand(images.shape[0], -1, -1, -1)  # len() would fix the batch of an export
        known = images.masked_fill(mask, 0)
        x = torch.cat([known, torch.ones_like(known[:, :1]), mask.to(known.dtype)], dim=1)
        coarse = _in_full(self.coarse(x)).clamp(-1, 1)
        x = torch.cat([coarse.to(x.dtype), x], dim=1)
        branches = [self.attentive(x, mask), self.convolutional(x)]
        return Inpainted(coarse, _in_full(self.refine(torch.cat(branches, dim=1))).clamp(-1, 1))


class AttentiveBranch(nn.Module):
    """Encoder, convolution, long-range layer and two convolutions; x (b, c, h, w), mask (b, 1, h, w) bool."""

    def __init__(self, config: BranchConfig, in_channels: int, width: int) -> None:
        super().__init__()
        deep = width * DEEP // PAPER_WIDTH
        self.encoder = _stack(ENCODER, in_channels, width)
        self.conv = make_conv(deep, deep, 3, gain=GAIN)
        self.norm = config.attentive_norm(deep, spectral_norm=False) if config.kind == "attentive_norm" else None
        self.attention = ContextualAttention2d() if config.kind == "contextual_attention" else None
        self.after = _stack(AFTER_NORM, deep, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = self.conv(self.encoder(x))
        if self.norm is not None:
            h = self.norm(h)
        if self.attention is not None:
            # A position is missing if any of its pixels is.
            h = self.attention(functional.relu(h), functional.max_pool2d(mask.float(), ENCODER_STRIDE))
        return self.after(h)


class InpaintingCritic(PretrainedNetwork):
    """Two scores of an image, higher for real ones: of the whole image, and of a square around the mask.

    Wasserstein critics (eq. 10): unbounded scores, and no batch norm, because the gradient penalty is per image.

    Shapes:
        images (b, 3, s, s) in [-1, 1]; mask (b, 1, s, s), non-zero where pixels were missing -> two of (b,) float32.
    """

    config_class: ClassVar[type[Frozen]] = InpaintingCriticConfig

    def __init__(self, config: InpaintingCriticConfig) -> None:
        super().__init__()
        self.config = config
        self.whole = _critic(WHOLE_CRITIC, config.width, config.image_size)
        self.local = _critic(LOCAL_CRITIC, config.width, config.local_size)

    def forward(self, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        around = crop(images, local_corners(mask, self.config.local_size), self.config.local_size)
        return _in_full(self.whole(images).squeeze(1)), _in_full(self.local(around).squeeze(1))


class ConstantSlopes(nn.LeakyReLU):
    """A leaky ReLU without a second derivative: PyTorch's sends zeros back, a third of the gradient penalty's cost."""

    def forward(self, x: Tensor) -> Tensor:
        slope = self.negative_slope
        return x * (x > 0).to(x.dtype).mul_(1 - slope).add_(slope)  # half the time of masked_fill_


def local_corners(mask: Tensor, size: int) -> Tensor:
    """The top left corners (b, 2) of squares of side `size`, inside the image and centred on the box around the mask;
    an empty mask has its centre in the middle of the image.
    """
    corners = []
    for axis in (3, 2):
        touched = (mask != 0).any(axis).flatten(1)  # rows, then columns, with masked pixels
        length = touched.shape[1]
        position = torch.arange(length, device=mask.device)
        first = torch.where(touched, position, length).amin(1)
        last = torch.where(touched, position, -1).amax(1)
        centre = torch.where(last >= 0, (first + last + 1) // 2, length // 2)
        corners.append((centre - size // 2).clamp(0, length - size))
    return torch.stack(corners, dim=1)


def crop(x: Tensor, corners: Tensor, size: int) -> Tensor:
    """Cuts a square out of each x (b, c, h, w) at its own corner (b, 2): (b, c, size, size)."""
    steps = torch.arange(size, device=x.device)
    rows, columns = (corners[:, axis, None] + steps for axis in (0, 1))
    x = x.gather(2, rows[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))
    return x.gather(3, columns[:, None, None, :].expand(-1, x.shape[1], size, -1))


def _in_full(x: Tensor) -> Tensor:
    """Converts half precision to float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _stack(table: Table, in_channels: int, width: int, *, to_image: bool = False) -> nn.Sequential:
    """The layers of a table; with `to_image`, then a convolution to three channels without activation."""
    layers: list[nn.Module] = []
    for row in table:
        if not isinstance(row, Conv):
            layers.append(nn.Upsample(scale_factor=row, mode="nearest"))
            continue
        channels = row.channels * width // PAPER_WIDTH
        conv = make_conv(in_channels, channels, row.kernel, stride=row.stride, dilation=row.dilation, gain=GAIN)
        layers += [conv, nn.ELU(inplace=True)]
        in_channels = channels
    if to_image:
        layers.append(make_conv(in_channels, 3, 3, gain=GAIN))
    return nn.Sequential(*layers)


def _critic(channels: tuple[int, ...], width: int, size: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for number in channels:
        after = max(1, number * width // CRITIC_WIDTH)
        layers += [make_conv(before, after, 5, stride=2, gain=GAIN), ConstantSlopes(0.2)]
        before, size = after, -(-size // 2)
    return nn.Sequential(*layers, nn.Flatten(), make_linear(before * size * size, 1))
