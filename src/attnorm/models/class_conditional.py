"""The class-conditional generator and discriminator: SN-GAN, SN-GAN*, SA-GAN and AN-GAN are configurations of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from attnorm.config import require_range
from attnorm.layers import SelfAttention2d
from attnorm.layers.autocast import without_autocast
from attnorm.layers.checks import require_classes, require_labels
from attnorm.layers.residual import DiscriminatorBlock, GeneratorBlock
from attnorm.layers.weights import make_conv, make_embedding, make_linear
from attnorm.models.attentive_norm import AttentiveNormConfig
from attnorm.models.pretrained import PretrainedNetwork

FIRST_MAP = 4  # the generator's first maps are 4 x 4
LARGEST = {
    "channels": 1 << 14,
    "blocks": 10,
    "latent_dim": 1 << 14,
    "num_classes": 1 << 20,
    "image_size": 1 << 12,
}


class Architecture(NamedTuple):
    """Channels per block at one picture size, and where the label and the long-range layer go."""

    generator: tuple[int, ...]  # of the first maps, then after each block; every block doubles the size
    discriminator: tuple[int, ...]  # after each block
    downsamples: int  # how many of the discriminator's blocks halve the size, from the first on
    concat_after: int  # the label joins the discriminator after this many blocks
    generator_block: int  # block of the long-range layer, counted from 0
    discriminator_block: int


# 128 is the paper's (supplementary, §2). 32 and 64 are the networks that public implementations of SN-GAN and SA-GAN
# use at these sizes, with the long-range layer on 32 x 32 maps in the generator and in the second block of the
# discriminator.
ARCHITECTURES = {
    32: Architecture((256, 256, 256, 256), (128, 128, 128, 128), 2, 2, 2, 1),
    64: Architecture((1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024), 5, 3, 2, 1),
    128: Architecture((1024, 1024, 512, 256, 128, 64), (64, 128, 256, 512, 1024), 5, 3, 2, 1),
}


@dataclass(frozen=True)
class LongRangeConfig(AttentiveNormConfig):
    """The layer that models long-range dependence, and its place; the other fields are attentive normalization's."""

    kind: Literal["none", "self_attention", "attentive_norm"] = "none"
    block: int = 2


@dataclass(frozen=True)
class GeneratorConfig:
    """A generator: `channels` are those of the 4 x 4 maps and after each doubling block.

    keep_batch_norm: attentive normalization stands behind the conditional batch norm of its block, so that the label
    enters there too; False is the paper's, in place of it.
    """

    image_size: int = 32
    num_classes: int = 10
    channels: tuple[int, ...] = ARCHITECTURES[32].generator
    latent_dim: int = 128
    spectral_norm: bool = True
    long_range: LongRangeConfig = field(default_factory=LongRangeConfig)
    keep_batch_norm: bool = False
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_channels("generator.channels", self.channels, self.long_range, fewest=2, blocks_from=1)
        require_range("generator.num_classes", self.num_classes, 1, LARGEST["num_classes"])
        require_range("generator.latent_dim", self.latent_dim, 1, LARGEST["latent_dim"])
        made = FIRST_MAP * 2 ** (len(self.channels) - 1)
        if self.image_size != made:
            raise ValueError(
                f"a generator with {len(self.channels)} channel numbers makes {made} x {made} pictures, "
                f"not image_size {self.image_size}"
            )
        _require_positions("generator", self.long_range, made // 2 ** (len(self.channels) - 2 - self.long_range.block))
        if len(set(self.class_names)) < len(self.class_names):
            raise ValueError("generator.class_names has a name twice: names must differ")
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ValueError(f"{len(self.class_names)} class names do not fit num_classes {self.num_classes}")


@dataclass(frozen=True)
class DiscriminatorConfig:
    """A discriminator: `channels` are those after each block, of which the first `downsamples` halve the size.

    `conditioning` says how the label enters: "concat", the paper's, joins an embedding of `embedding_dim` channels to
    the maps after `concat_after` blocks; "projection" adds its inner product with the pooled features; with
    "auxiliary", AC-GAN's, it does not enter, and the network has to tell it.
    """

    image_size: int = 32
    num_classes: int = 10
    channels: tuple[int, ...] = ARCHITECTURES[32].discriminator
    downsamples: int = ARCHITECTURES[32].downsamples
    conditioning: Literal["concat", "projection", "auxiliary"] = "concat"
    concat_after: int = ARCHITECTURES[32].concat_after
    embedding_dim: int = 128
    spectral_norm: bool = True
    long_range: LongRangeConfig = field(default_factory=LongRangeConfig)

    def __post_init__(self) -> None:
        _require_channels("discriminator.channels", self.channels, self.long_range, fewest=1, blocks_from=0)
        require_range("discriminator.num_classes", self.num_classes, 1, LARGEST["num_classes"])
        require_range("discriminator.embedding_dim", self.embedding_dim, 1, LARGEST["channels"])
        require_range("discriminator.downsamples", self.downsamples, 0, len(self.channels))
        if self.conditioning == "concat":
            if len(self.channels) == 1:
                raise ValueError(
                    "discriminator.channels must have at least 2 numbers with conditioning 'concat', which joins the "
                    "label between two blocks: got 1"
                )
            require_range("discriminator.concat_after", self.concat_after, 1, len(self.channels) - 1)
        require_range("discriminator.image_size", self.image_size, 2**self.downsamples, LARGEST["image_size"])
        if self.image_size % 2**self.downsamples:
            raise ValueError(
                f"image_size {self.image_size} cannot be halved {self.downsamples} times: "
                "change discriminator.downsamples or the size"
            )
        halvings = min(self.long_range.block, self.downsamples)  # a block halves the maps after its norm
        _require_positions("discriminator", self.long_range, self.image_size // 2**halvings)


class Generator(PretrainedNetwork, pipeline_tag="unconditional-image-generation"):
    """Noise and labels in, pictures in [-1, 1] out.

    Shapes:
        z (b, latent_dim), standard normal; labels (b,) integers or (b, num_classes) mixtures
        -> (b, 3, size, size) float32.
    """

    config_class: ClassVar[type] = GeneratorConfig

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        sn, channels, spot = config.spectral_norm, config.channels, config.long_range
        self.stem = make_linear(config.latent_dim, FIRST_MAP**2 * channels[0], spectral_norm=sn)
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleDict()
        for index, (before, after) in enumerate(itertools.pairwise(channels)):
            here = index == spot.block
            norm = spot.attentive_norm(after, sn) if here and spot.kind == "attentive_norm" else None
            self.blocks.append(
                GeneratorBlock(
                    before,
                    after,
                    config.num_classes,
                    spectral_norm=sn,
                    norm=norm,
                    keep_batch_norm=config.keep_batch_norm,
                )
            )
            if here and spot.kind == "self_attention":
                self.attention[str(index)] = SelfAttention2d(after, spectral_norm=sn)
        self.norm = nn.BatchNorm2d(channels[-1])
        # Gain 1, as in the SN-GAN code: with sqrt(2) 11 % of the first values exceed 0.97, not 3 %.
        self.to_picture = make_conv(channels[-1], 3, 3, spectral_norm=sn, gain=1.0)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.config.latent_dim:
            raise ValueError(f"z must be (b, {self.config.latent_dim}), got {tuple(z.shape)}")
        require_labels(labels, z.shape[0], self.config.num_classes, mixtures=True)
        require_classes(labels, self.config.num_classes)
        h = self.stem(z).unflatten(1, (-1, FIRST_MAP, FIRST_MAP))
        for index, block in enumerate(self.blocks):
            h = block(h, labels)
            if str(index) in self.attention:
                h = self.attention[str(index)](h)
        return torch.tanh(self.to_picture(functional.relu(self.norm(h))).float())


class Judgement(NamedTuple):
    """What a discriminator says: score (b,), high for real, and class logits (b, num_classes) if it is to tell them."""

    score: Tensor
    class_logits: Tensor | None


class Discriminator(PretrainedNetwork):
    """Images and labels in, a score of each out.

    The networks of the AN supplementary for every system: wide blocks, the label concatenated. SN-GAN's paper has six
    narrow blocks and a projection, SA-GAN's six wide ones.

    Shapes:
        x (b, 3, size, size) in [-1, 1]; labels (b,) integers -> Judgement in float32.
    """

    config_class: ClassVar[type] = DiscriminatorConfig

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        sn, spot = config.spectral_norm, config.long_range
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleDict()
        before, concat = 3, config.conditioning == "concat"
        for index, after in enumerate(config.channels):
            here = index == spot.block
            block = DiscriminatorBlock(
                before + (config.embedding_dim if concat and index == config.concat_after else 0),
                after,
                downsample=index < config.downsamples,
                spectral_norm=sn,
                first=index == 0,
                norm=spot.attentive_norm(after, sn) if here and spot.kind == "attentive_norm" else None,
            )
            self.blocks.append(block)
            if here and spot.kind == "self_attention":
                self.attention[str(index)] = SelfAttention2d(after, spectral_norm=sn)
            before = after
        self.score = make_linear(before, 1, spectral_norm=sn)
        if config.conditioning == "auxiliary":
            self.classify = make_linear(before, config.num_classes, spectral_norm=sn)
        else:
            width = config.embedding_dim if concat else before
            self.embedding = make_embedding(config.num_classes, width, spectral_norm=sn)

    def forward(self, x: Tensor, labels: Tensor) -> Judgement:
        size, conditioning = self.config.image_size, self.config.conditioning
        if x.shape[1:] != (3, size, size):
            raise ValueError(f"x must be (b, 3, {size}, {size}), got {tuple(x.shape)}")
        require_labels(labels, x.shape[0], self.config.num_classes)
        require_classes(labels, self.config.num_classes)
        h = x
        for index, block in enumerate(self.blocks):
            if conditioning == "concat" and index == self.config.concat_after:
                tiled = self.embedding(labels).to(h.dtype)[:, :, None, None].expand(-1, -1, *h.shape[2:])
                h = torch.cat([h, tiled], dim=1)
            h = block(h)
            if str(index) in self.attention:
                h = self.attention[str(index)](h)
        features = functional.relu(h).sum((2, 3), dtype=torch.float32)
        with without_autocast(x):  # the hinge loss compares scores with 1: keep their digits
            score = self.score(features).squeeze(1)
            if conditioning == "projection":
                score = score + (self.embedding(labels) * features).sum(1)
            return Judgement(score, self.classify(features) if conditioning == "auxiliary" else None)


def _require_channels(
    name: str, channels: tuple[int, ...], spot: LongRangeConfig, *, fewest: int, blocks_from: int
) -> None:
    """Bounds the table of channels, so that an absurd one fails before memory is taken, and the layer's place in it."""
    if not fewest <= len(channels) <= LARGEST["blocks"]:
        raise ValueError(f"{name} must have {fewest} to {LARGEST['blocks']} numbers, got {len(channels)}")
    for number in channels:
        require_range(name, number, 1, LARGEST["channels"])
    if spot.kind != "none":
        require_range(f"{name.split('.')[0]}.long_range.block", spot.block, 0, len(channels) - blocks_from - 1)


def _require_positions(name: str, spot: LongRangeConfig, side: int) -> None:
    """Self-sampling draws each entity's filter from another pixel; without enough of them the first step would fail."""
    if spot.kind == "attentive_norm" and spot.self_sampling:
        require_range(f"{name}.long_range.num_entities on {side} x {side} maps", spot.num_entities, 1, side * side)
