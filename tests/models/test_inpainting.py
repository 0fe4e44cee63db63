"""The inpainting networks against the supplementary's table, written out once more by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from attnorm.models.inpainting import (
    BranchConfig,
    Inpainted,
    InpaintingCritic,
    InpaintingCriticConfig,
    InpaintingGenerator,
    InpaintingGeneratorConfig,
    local_corners,
)
from tests.models.test_class_conditional import conv

KINDS = ("attentive_norm", "contextual_attention", "none")
SMALL = InpaintingGeneratorConfig(image_size=32, width=4, branch=BranchConfig(num_entities=4))


def small(kind, *, dense=False):
    torch.manual_seed(0)
    branch = SMALL.branch.model_copy(update={"kind": kind})
    generator = InpaintingGenerator(SMALL.model_copy(update={"dense_bottleneck": dense, "branch": branch})).eval()
    if generator.attentive.norm is not None:
        nn.init.constant_(generator.attentive.norm.residual_gain, 0.5)
    return generator


def inputs(batch=2, height=32, width=32):
    torch.manual_seed(1)
    image = torch.rand(batch, 3, height, width) * 2 - 1
    mask = torch.zeros(batch, 1, height, width)
    for index in range(batch):
        mask[index, :, 4 + index : 16, 8 : 16 + index] = 1
    return image, mask


def paper_generator(kind):
    """Parameters of the 256 x 256 network of the supplementary, with X of 3 + 1 + 1 channels."""

    def encoder(channels):
        return conv(channels, 32, 5) + conv(32, 64, 3) + conv(64, 64, 3) + conv(64, 128, 3) + conv(128, 128, 3)

    bottleneck = 4 * conv(128, 128, 3)

    def decoder1(channels):
        return conv(channels, 64, 3) + conv(64, 64, 3) + conv(64, 32, 3) + conv(32, 16, 3) + conv(16, 3, 3)

    coarse = encoder(5) + bottleneck + decoder1(128)
    branches = encoder(8) + bottleneck + encoder(8) + 3 * conv(128, 128, 3)
    refine = conv(256, 128, 3) + conv(128, 128, 3) + decoder1(128)
    norm = 16 * 128 + 2 * conv(128, 16, 1) + 16 + 128 * 128 + 1  # entities, key, query, t, value, rho
    return coarse + branches + refine + (norm if kind == "attentive_norm" else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_parameter_counts_of_the_papers_networks(kind):
    with torch.device("meta"):
        generator = InpaintingGenerator(InpaintingGeneratorConfig(branch=BranchConfig(kind=kind)))
        critic = InpaintingCritic(InpaintingCriticConfig())
    assert sum(p.numel() for p in generator.parameters()) == paper_generator(kind)
    first_three = conv(3, 64, 5) + conv(64, 128, 5) + conv(128, 256, 5)
    whole = first_three + conv(256, 256, 5) + 256 * 16 * 16 + 1
    local = first_three + conv(256, 512, 5) + 512 * 8 * 8 + 1
    assert sum(p.numel() for p in critic.parameters()) == whole + local


def written_out(generator, image, mask):
    """Fig. 3 of the supplementary, in plain functions of the generator's weights."""

    def run(layers, x, plan):
        weights = iter([m for m in layers if isinstance(m, nn.Conv2d)])
        for step, number in plan:
            if step == "up":
                x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
                continue
            layer = next(weights)
            stride, dilation = (number, 1) if step == "stride" else (1, number)
            padding = dilation * (layer.weight.shape[-1] // 2)
            x = functional.conv2d(x, layer.weight, layer.bias, stride, padding, dilation)
            x = x if step == "linear" else functional.elu(x)
        assert next(weights, None) is None
        return x

    encoder = [("stride", 1), ("stride", 2), ("stride", 1), ("stride", 2), ("stride", 1)]
    bottleneck = [("dilate", d) for d in (2, 4, 8, 16)]
    if generator.config.dense_bottleneck:
        bottleneck += [("", 1), ("", 1)]
    decoder = [("up", 2), ("", 1), ("", 1), ("up", 2), ("", 1), ("", 1), ("linear", 1)]
    x = torch.cat([image * (1 - mask), torch.ones_like(mask), mask], 1)
    coarse = run(generator.coarse, x, encoder + bottleneck + decoder).clamp(-1, 1)
    x = torch.cat([coarse, x], 1)
    branch = generator.attentive
    a = functional.conv2d(run(branch.encoder, x, encoder), branch.conv.weight, branch.conv.bias, padding=1)
    if branch.norm is not None:
        a = branch.norm(a)
    if branch.attention is not None:
        a = branch.attention(functional.relu(a), functional.max_pool2d(mask, 4))
    a = run(branch.after, a, [("", 1), ("", 1)])
    b = run(generator.convolutional, x, encoder + bottleneck)
    refined = run(generator.refine, torch.cat([a, b], 1), [("", 1), ("", 1), *decoder])
    return Inpainted(coarse, refined.clamp(-1, 1))


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_generator_is_the_drawn_one(kind, dense):
    generator = small(kind, dense=dense).double()
    image, mask = (t.double() for t in inputs())
    with torch.no_grad():
        found, expected = tuple(generator(image, mask)), tuple(written_out(generator, image, mask))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_inside_the_mask_is_read(kind):
    generator, (image, mask) = small(kind), inputs()
    other = torch.where(mask > 0, torch.nan, image)
    with torch.no_grad():
        for found, expected in zip(generator(other, mask), generator(image, mask), strict=True):
            assert torch.equal(found, expected)
    changed = torch.where(mask > 0, image, -image)
    assert not torch.allclose(generator(changed, mask).refined, generator(image, mask).refined, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_of_a_batch_is_inpainted_on_its_own_and_at_any_size(kind):
    generator, (image, mask) = small(kind), inputs(3, 40, 48)
    with torch.no_grad():
        together = generator(image, mask).refined
        alone = torch.cat([generator(image[i : i + 1], mask[i : i + 1]).refined for i in range(3)])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
        shared = generator(image, mask[:1]).refined
        torch.testing.assert_close(shared[1:], generator(image[1:], mask[:1].bool()).refined, rtol=1e-4, atol=1e-5)


def test_images_and_masks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiples of 4"):
        small("none")(*inputs(2, 30, 32))
    with pytest.raises(ValueError, match="multiples of 8"):
        small("contextual_attention")(*inputs(2, 36, 32))
    with pytest.raises(ValueError, match="to fit images"):
        small("none")(inputs()[0], inputs(2, 32, 36)[1])


@pytest.fixture
def critic():
    torch.manual_seed(0)
    return InpaintingCritic(InpaintingCriticConfig(image_size=32, local_size=16, width=8))


def test_the_critics_are_the_written_out_ones(critic):
    image, mask = inputs(1)
    mask[:] = 0
    mask[..., 2:10, 14:30] = 1  # the centre is (6, 22), and the square would begin above the image
    scores = []
    for layers, x in ((critic.whole, image), (critic.local, image[..., 0:16, 14:30])):
        for layer in [m for m in layers if isinstance(m, nn.Conv2d)]:
            assert layer.weight.shape[2:] == (5, 5)
            x = functional.leaky_relu(functional.conv2d(x, layer.weight, layer.bias, 2, 2), 0.2)
        scores.append(functional.linear(x.flatten(1), layers[-1].weight, layers[-1].bias)[:, 0])
    torch.testing.assert_close(critic(image, mask), tuple(scores))


def test_squares_are_centred_on_the_mask_inside_the_image():
    mask = torch.zeros(5, 1, 20, 30)
    mask[0, :, 8:12, 10:20] = 1
    mask[1, :, 0, 0] = 1
    mask[2, :, 19, 29] = 1
    mask[3, :, 2, 5] = mask[3, :, 16, 23] = 1  # in two pieces
    expected = [[6, 11], [0, 0], [12, 22], [5, 10], [6, 11]]  # the last has no mask: the middle
    assert local_corners(mask, 8).tolist() == expected
    assert local_corners(mask.bool(), 8).tolist() == expected
