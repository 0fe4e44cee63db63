"""The networks: sizes counted by hand from the paper's tables, conditioning, and saving."""

import pytest
import torch
from torch import nn

from attnorm import AttentiveNorm2d
from attnorm.models.class_conditional import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    LongRangeConfig,
)
from attnorm.presets import get_preset

ENTITIES, CLASSES = 16, 1000
SMALL_G = GeneratorConfig(channels=(8, 8, 8, 8), latent_dim=6, num_classes=3)
SMALL_D = DiscriminatorConfig(channels=(8, 8, 8, 8), embedding_dim=5, num_classes=3)


def conv(inputs, outputs, kernel, bias=True):
    return inputs * outputs * kernel**2 + (outputs if bias else 0)


def attentive_norm(c):
    layout = ENTITIES * c + 2 * conv(c, c // 8, 1) + ENTITIES
    return layout + conv(c, c, 1, bias=False) + 2 * ENTITIES * c + 1


def self_attention(c):
    return 2 * conv(c, c // 8, 1, bias=False) + 2 * conv(c, c // 2, 1, bias=False) + 1


def generator_128(kind):
    """z -> FC 4x4x1024 -> up 1024 -> up 512 -> up 256 (the layer) -> up 128 -> up 64 -> BN, ReLU, conv."""
    total = 128 * 16 * 1024 + 16 * 1024
    for inputs, outputs in [(1024, 1024), (1024, 512), (512, 256), (256, 128), (128, 64)]:
        total += 2 * CLASSES * inputs + conv(inputs, outputs, 3) + conv(outputs, outputs, 3) + conv(inputs, outputs, 1)
        here = outputs == 256
        total += attentive_norm(256) if here and kind == "attentive_norm" else 2 * CLASSES * outputs
        total += self_attention(256) if here and kind == "self_attention" else 0
    return total + 2 * 64 + conv(64, 3, 3)


def discriminator_128(kind):
    """down 64 -> down 128 (the layer) -> down 256 -> concat(Embed(y), h) -> down 512 -> down 1024 -> sum pool -> FC."""
    total = CLASSES * 128
    for inputs, outputs in [(3, 64), (64, 128), (128, 256), (256 + 128, 512), (512, 1024)]:
        total += conv(inputs, outputs, 3) + conv(outputs, outputs, 3) + conv(inputs, outputs, 1)
    total += {"none": 0, "attentive_norm": attentive_norm(128), "self_attention": self_attention(128)}[kind]
    return total + 1024 + 1


@pytest.mark.parametrize(
    ("preset", "kind"), [("sn-gan-star", "none"), ("sa-gan", "self_attention"), ("an-gan", "attentive_norm")]
)
def test_parameter_counts_of_the_128_networks(preset, kind):
    config = get_preset(f"{preset}-imagenet128")
    with torch.device("meta"):
        generator, discriminator = Generator(config.generator), Discriminator(config.discriminator)
    assert sum(p.numel() for p in generator.parameters()) == generator_128(kind)
    assert sum(p.numel() for p in discriminator.parameters()) == discriminator_128(kind)


@pytest.mark.parametrize("kind", ["none", "self_attention", "attentive_norm"])
def test_images_and_scores_of_every_long_range_layer(kind):
    torch.manual_seed(0)
    generator = Generator(SMALL_G.model_copy(update={"long_range": LongRangeConfig(kind=kind, block=2)}))
    discriminator = Discriminator(SMALL_D.model_copy(update={"long_range": LongRangeConfig(kind=kind, block=1)}))
    images = generator(torch.randn(4, 6), torch.tensor([0, 1, 2, 0]))
    assert images.shape == (4, 3, 32, 32)
    assert images.abs().max() <= 1
    scores = discriminator(images, torch.tensor([0, 1, 2, 0])).score
    assert scores.shape == (4,)
    scores.sum().backward()
    for network in (generator, discriminator):
        gains = [p for name, p in network.named_parameters() if name.endswith("residual_gain")]
        assert len(gains) == (kind != "none")
        assert all(gain.grad.abs() > 0 for gain in gains)


def test_the_long_range_layer_stands_where_the_paper_puts_it():
    """Generator: on 256 channels of 32x32; discriminator: in the block that makes 128 channels, before its pooling."""
    config, seen = get_preset("an-gan-imagenet128"), []
    with torch.device("meta"):
        networks = Generator(config.generator), Discriminator(config.discriminator)
        inputs, labels = (torch.empty(2, 128), torch.empty(2, 3, 128, 128)), torch.zeros(2, dtype=torch.long)
    for network, x in zip(networks, inputs, strict=True):
        for layer in (module for module in network.modules() if isinstance(module, AttentiveNorm2d)):
            layer.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape[1:])))
        network(x, labels)
    assert seen == [(256, 32, 32), (128, 64, 64)]


def test_spectral_norm_is_on_every_weight_but_the_class_gains():
    normalized = [name for name, _ in Generator(SMALL_G).named_parameters() if "parametrizations" in name]
    assert any("stem" in name for name in normalized)
    assert not any("gain" in name or ".bias.weight" in name for name in normalized)
    plain = Generator(SMALL_G.model_copy(update={"spectral_norm": False}))
    assert not [name for name, _ in plain.named_parameters() if "parametrizations" in name]
    for name, module in Discriminator(SMALL_D).named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
            assert torch.nn.utils.parametrize.is_parametrized(module), name


def test_the_last_convolution_of_the_generator_has_gain_1():
    """Glorot uniform: the variance is 2 / (fan_in + fan_out), in 9 positions each."""
    torch.manual_seed(0)
    weight = Generator(GeneratorConfig(spectral_norm=False)).to_picture.weight
    assert weight.std().item() == pytest.approx((2 / (9 * (256 + 3))) ** 0.5, rel=0.03)


@pytest.mark.parametrize("blocks", [1, 4])
def test_projection_and_the_auxiliary_classifier_are_the_written_out_ones(blocks):
    torch.manual_seed(0)
    changes = {"channels": (8,) * blocks, "downsamples": 1}
    x, labels = torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 2])

    def built(conditioning):
        network = Discriminator(SMALL_D.model_copy(update=changes | {"conditioning": conditioning})).eval()
        h = x
        for block in network.blocks:
            h = block(h)
        pooled = torch.relu(h).sum((2, 3))
        return network, pooled, network.score(pooled)[:, 0]

    network, pooled, score = built("projection")
    expected = score + torch.einsum("bc,bc->b", network.embedding.weight[labels], pooled)
    torch.testing.assert_close(network(x, labels).score, expected)

    network, pooled, score = built("auxiliary")
    found = network(x, labels)
    torch.testing.assert_close(found.class_logits, pooled @ network.classify.weight.T + network.classify.bias)
    torch.testing.assert_close(found.score, score)
    assert torch.equal(network(x, labels.flip(0)).score, found.score)


def test_the_label_changes_the_score_of_concatenation():
    torch.manual_seed(0)
    network = Discriminator(SMALL_D).eval()
    out = network(torch.randn(1, 3, 32, 32).expand(3, -1, -1, -1), torch.tensor([0, 1, 2]))
    assert len(set(out.score.tolist())) == 3
    assert out.class_logits is None
