"""The class-conditional generator and discriminator: SN-GAN, SN-GAN*, SA-GAN and AN-GAN are configurations of them."""

import itertools
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from attnorm.config import Frozen
from attnorm.errors import UserError
from attnorm.layers import AttentiveNorm2d, SelfAttention2d
from attnorm.layers.checks import require_labels
from attnorm.layers.context import without_autocast
from attnorm.layers.residual import DiscriminatorBlock, GeneratorBlock
from attnorm.layers.weights import iterate_together, make_conv, make_embedding, make_linear
from attnorm.models.pretrained import PretrainedNetwork

FIRST_MAP = 4  # side of the generator's first maps
LARGEST_DEPTH = 10  # blocks
Width = Annotated[int, Field(ge=1, le=1 << 14)]


class Architecture(NamedTuple):
    """Channels per block at one image size, and where the label and the long-range layer go."""

    generator: tuple[int, ...]  # of the first maps, then after each block; every block doubles the size
    discriminator: tuple[int, ...]  # after each block
    downsamples: int  # how many discriminator blocks, from the first, halve the size
    concat_after: int  # the label enters the discriminator after this many blocks
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


class AttentiveNormConfig(Frozen):
    """The options of `AttentiveNorm2d`."""

    num_entities: int = Field(16, ge=1, le=4096)
    temperature: float = Field(0.1, gt=0)
    self_sampling: bool = True
    statistics: Literal["instance", "batch"] = "instance"
    variance: Literal["weighted", "algorithm1"] = "weighted"
    affine: Literal["entity", "shared", "none"] = "entity"
    entity_std: float | None = Field(None, gt=0)

    def check_entities(self, name: str, side: int) -> None:
        """Checks that maps of `side` x `side` pixels are large enough for self-sampling."""
        if self.self_sampling and self.num_entities > side * side:
            where = f"{name}.num_entities must be at most {side * side} on {side} x {side} maps"
            raise ValueError(f"{where}, got {self.num_entities}")

    def attentive_norm(self, channels: int, spectral_norm: bool) -> AttentiveNorm2d:
        fields = {name: getattr(self, name) for name in AttentiveNormConfig.model_fields}
        return AttentiveNorm2d(channels, spectral_norm=spectral_norm, **fields)


class LongRangeConfig(AttentiveNormConfig):
    """The long-range layer and its place; inherited fields are for attentive normalization."""

    kind: Literal["none", "self_attention", "attentive_norm"] = "none"
    block: int = Field(2, ge=0)


class GeneratorConfig(Frozen):
    """A generator.

    Args:
        channels: of the 4 x 4 maps, then after each block, which doubles the size.
        keep_batch_norm: attentive normalization follows the conditional batch norm of its block, so that the label
            enters there too; False, the paper's, replaces that batch norm.
    """

    image_size: int = 32
    num_classes: int = Field(10, ge=1, le=1 << 20)
    channels: tuple[Width, ...] = Field(ARCHITECTURES[32].generator, min_length=2, max_length=LARGEST_DEPTH)
    latent_dim: Width = 128
    spectral_norm: bool = True
    long_range: LongRangeConfig = LongRangeConfig()
    keep_batch_norm: bool = False
    class_names: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        made = FIRST_MAP * 2 ** (len(self.channels) - 1)
        if self.image_size != made:
            what = f"a generator with {len(self.channels)} numbers of channels makes {made} x {made} images"
            raise ValueError(f"{what}, not image_size {self.image_size}")
        _check_place("generator", self.long_range, [FIRST_MAP << block for block in range(1, len(self.channels))])
        if self.class_names and len(set(self.class_names)) != self.num_classes:
            raise ValueError(f"class_names must be {self.num_classes} different names, one for each class")
        return self


class DiscriminatorConfig(Frozen):
    """A discriminator.

    Args:
        channels: after each block; the first `downsamples` blocks halve the size.
        conditioning: how the label enters. "concat", the paper's, joins an embedding of `embedding_dim` channels to the
            maps after `concat_after` blocks; "projection" adds its inner product with the pooled features; with
            "auxiliary", AC-GAN's, it does not enter, and the network predicts it.
    """

    image_size: int = Field(32, ge=1, le=1 << 12)
    num_classes: int = Field(10, ge=1, le=1 << 20)
    channels: tuple[Width, ...] = Field(ARCHITECTURES[32].discriminator, min_length=1, max_length=LARGEST_DEPTH)
    downsamples: int = Field(ARCHITECTURES[32].downsamples, ge=0)
    conditioning: Literal["concat", "projection", "auxiliary"] = "concat"
    concat_after: int = Field(ARCHITECTURES[32].concat_after, ge=1)
    embedding_dim: Width = 128
    spectral_norm: bool = True
    long_range: LongRangeConfig = LongRangeConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        blocks = len(self.channels)
        if self.downsamples > blocks or self.image_size % 2**self.downsamples:
            fields = f"image_size {self.image_size} and {blocks} blocks"
            raise ValueError(f"discriminator.downsamples {self.downsamples} does not fit {fields}: change one of them")
        if self.conditioning == "concat" and self.concat_after >= blocks:
            raise ValueError(f"discriminator.concat_after must be below the number of blocks, {blocks}")
        # A block halves its maps after the layer.
        sides = [self.image_size >> min(block, self.downsamples) for block in range(blocks)]
        _check_place("discriminator", self.long_range, sides)
        return self


class Generator(PretrainedNetwork, pipeline_tag="unconditional-image-generation"):
    """The generator: from noise and labels to images in [-1, 1].

    Shapes:
        z (b, latent_dim), standard normal; labels (b,) integers or (b, num_classes) mixtures
        -> (b, 3, size, size) float32.
    """

    config_class: ClassVar[type[Frozen]] = GeneratorConfig

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        sn, channels, spot = config.spectral_norm, config.channels, config.long_range
        classes, options = config.num_classes, {"spectral_norm": sn, "keep_batch_norm": config.keep_batch_norm}
        self.stem = make_linear(config.latent_dim, FIRST_MAP**2 * channels[0], spectral_norm=sn)
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleDict()
        for index, (before, after) in enumerate(itertools.pairwise(channels)):
            here = index == spot.block
            norm = spot.attentive_norm(after, sn) if here and spot.kind == "attentive_norm" else None
            self.blocks.append(GeneratorBlock(before, after, classes, norm=norm, **options))
            if here and spot.kind == "self_attention":
                self.attention[str(index)] = SelfAttention2d(after, spectral_norm=sn)
        self.norm = nn.BatchNorm2d(channels[-1])
        # Gain 1, as in the SN-GAN code: with sqrt(2) 11 % of the first values exceed 0.97, not 3 %.
        self.to_picture = make_conv(channels[-1], 3, 3, spectral_norm=sn, gain=1.0)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        iterate_together(self)
        h = self.stem(z).unflatten(1, (-1, FIRST_MAP, FIRST_MAP))
        for index, block in enumerate(self.blocks):
            h = block(h, labels)
            if str(index) in self.attention:
                h = self.attention[str(index)](h)
        return torch.tanh(self.to_picture(functional.relu(self.norm(h))).float())


def truncated(z: Tensor, limit: float) -> Tensor:
    """Normal noise as that of the distribution cut off at `limit` on both sides (BigGAN's truncation trick). Values are
    mapped by their rank and not drawn again, so that an image changes gradually with `limit`.
    """
    if not limit > 0:
        raise UserError(f"truncation must be positive, got {limit:g}")
    exact = z.double()
    outside = torch.special.ndtr(exact.new_tensor(-limit))  # the share below -limit, and as much above
    rank = outside + torch.special.ndtr(exact) * (1 - 2 * outside)
    return torch.special.ndtri(rank).clamp(-limit, limit).to(z.dtype)


class DiscriminatorOutput(NamedTuple):
    score: Tensor  # (b,), high for real images
    class_logits: Tensor | None  # (b, num_classes), with an auxiliary classifier


class Discriminator(PretrainedNetwork):
    """Images and labels in, one score per image out; docs/decisions.md compares it with those of the sources.

    Shapes:
        x (b, 3, size, size) in [-1, 1]; labels (b,) integers -> `DiscriminatorOutput` in float32.
    """

    config_class: ClassVar[type[Frozen]] = DiscriminatorConfig

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        sn, spot = config.spectral_norm, config.long_range
        self.blocks, self.attention = nn.ModuleList(), nn.ModuleDict()
        before, concat = 3, config.conditioning == "concat"
        for index, after in enumerate(config.channels):
            here, halves = index == spot.block, index < config.downsamples
            before += config.embedding_dim if concat and index == config.concat_after else 0
            norm = spot.attentive_norm(after, sn) if here and spot.kind == "attentive_norm" else None
            block = DiscriminatorBlock(before, after, downsample=halves, spectral_norm=sn, first=index == 0, norm=norm)
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

    def forward(self, x: Tensor, labels: Tensor) -> DiscriminatorOutput:
        iterate_together(self)
        conditioning = self.config.conditioning
        require_labels(labels, x.shape[0], self.config.num_classes)
        h = x
        for index, block in enumerate(self.blocks):
            if conditioning == "concat" and index == self.config.concat_after:
                tiled = self.embedding(labels).to(h.dtype)[:, :, None, None].expand(-1, -1, *h.shape[2:])
                h = torch.cat([h, tiled], dim=1)
            h = block(h)
            if str(index) in self.attention:
                h = self.attention[str(index)](h)
        features = functional.relu(h).sum((2, 3), dtype=torch.float32)
        with without_autocast(x):  # float32, because the hinge loss compares scores with 1
            score = self.score(features).squeeze(1)
            if conditioning == "projection":
                score = score + (self.embedding(labels) * features).sum(1)
            return DiscriminatorOutput(score, self.classify(features) if conditioning == "auxiliary" else None)


def _check_place(network: str, spot: LongRangeConfig, sides: list[int]) -> None:
    """Checks that the layer's block exists and that its maps, sides[block] pixels a side, have enough pixels."""
    if spot.kind != "none" and spot.block >= len(sides):
        raise ValueError(f"{network}.long_range.block must be from 0 to {len(sides) - 1}, got {spot.block}")
    if spot.kind == "attentive_norm":
        spot.check_entities(f"{network}.long_range", sides[spot.block])
