"""Spectral norm, SA-GAN's attention, conditional batch norm and the residual blocks against independent references."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from attnorm import SelfAttention2d
from attnorm.layers import ConditionalBatchNorm2d, spectral_norm
from attnorm.layers.residual import DiscriminatorBlock, GeneratorBlock
from attnorm.layers.weights import iterate_together, make_conv, make_embedding, make_linear
from tests.layers import literal


def sigma_of(weight):
    return torch.linalg.svdvals(weight.detach().double().flatten(1))[0].item()


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_self_attention_takes_a_fused_kernel_in_both_memory_formats(order):
    """It never builds the (h w, h w / 4) matrix: allowed nothing but fused attention, it still runs."""
    layer, x = SelfAttention2d(16), torch.randn(2, 16, 8, 6).contiguous(memory_format=order).requires_grad_()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
        layer(x).sum().backward()


@pytest.mark.parametrize("make", [lambda: nn.Conv2d(5, 7, 3), lambda: nn.Linear(6, 9), lambda: nn.Embedding(8, 4)])
def test_spectral_norm_divides_by_the_largest_singular_value(make):
    torch.manual_seed(0)
    module = make()
    original = module.weight.detach().clone()
    spectral_norm(module)
    for _ in range(100):  # each training access iterates once
        normalized = module.weight
    torch.testing.assert_close(normalized, original / sigma_of(original), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("together", [False, True])
def test_spectral_norm_iterates_once_per_training_forward_and_never_in_eval_mode(together):
    torch.manual_seed(0)
    layer, x = spectral_norm(nn.Linear(20, 30)), torch.ones(1, 20)
    state = layer.parametrizations.weight[0]
    matrix = layer.parametrizations.weight.original.detach().normal_()
    u = functional.normalize(matrix @ state.v, dim=0)
    expected = [u, functional.normalize(matrix.t() @ u, dim=0)]
    if together:
        iterate_together(nn.Sequential(layer))
    torch.testing.assert_close(layer(x), functional.linear(x, matrix / (u @ matrix @ expected[1]), layer.bias))
    torch.testing.assert_close([state.u, state.v], expected)
    layer.eval()(x)
    torch.testing.assert_close([state.u, state.v], expected)


def test_spectral_norm_stays_in_float32_under_autocast():
    torch.manual_seed(0)
    layer = spectral_norm(nn.Linear(64, 64)).eval()
    plain = layer.weight
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, plain)


@pytest.mark.parametrize("spectral", [False, True])
def test_initial_weights_survive_spectral_norm(spectral):
    torch.manual_seed(0)
    conv = make_conv(64, 64, 3, spectral_norm=spectral)
    weight = conv.parametrizations.weight.original if spectral else conv.weight
    bound = math.sqrt(2) * math.sqrt(6 / (2 * 64 * 9))  # Glorot uniform with gain sqrt(2)
    assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert torch.equal(conv.bias, torch.zeros(64))
    for module in (make_linear(50, 50, spectral_norm=spectral), make_embedding(50, 50, spectral_norm=spectral)):
        weight = module.parametrizations.weight.original if spectral else module.weight
        assert weight.abs().max().item() == pytest.approx(math.sqrt(6 / 100), rel=0.02)


def literal_self_attention(layer, x):
    def conv(module, t):
        return literal.conv1x1(t, module.weight, None)

    query = conv(layer.query, x).flatten(2)
    key = functional.max_pool2d(conv(layer.key, x), 2).flatten(2)
    value = functional.max_pool2d(conv(layer.value, x), 2).flatten(2)
    attention = torch.softmax(torch.einsum("bkp,bkq->bpq", query, key), dim=2)
    attended = torch.einsum("bpq,bvq->bvp", attention, value).unflatten(2, x.shape[2:])
    return x + layer.residual_gain * conv(layer.out, attended)


@pytest.mark.parametrize("shape", [(2, 16, 6, 6), (1, 8, 5, 7), (1, 3, 4, 4)])
def test_self_attention_is_the_written_out_one(shape):
    torch.manual_seed(0)
    layer = SelfAttention2d(shape[1]).double()
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.equal(layer(x), x)  # sigma starts at 0
    nn.init.constant_(layer.residual_gain, 0.7)
    out, expected = layer(x), literal_self_attention(layer, x)
    torch.testing.assert_close(out, expected)
    found, wanted = (torch.autograd.grad(t.square().sum(), x)[0] for t in (out, expected))
    torch.testing.assert_close(found, wanted)
    with pytest.raises(ValueError, match="h >= 2"):
        layer(x[:, :, :1])


def test_conditional_batch_norm_by_label_and_by_mixture():
    torch.manual_seed(0)
    layer = ConditionalBatchNorm2d(3, 4).double()
    nn.init.normal_(layer.gain.weight)
    nn.init.normal_(layer.bias.weight)
    x, labels = torch.randn(5, 3, 6, 6, dtype=torch.float64) * 3 + 2, torch.tensor([0, 3, 1, 1, 2])
    standard = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
    gain, bias = (t.weight[labels][:, :, None, None] for t in (layer.gain, layer.bias))
    torch.testing.assert_close(layer(x, labels), standard * gain + bias)
    torch.testing.assert_close(layer(x, functional.one_hot(labels, 4)), standard * gain + bias)
    half = torch.full((5, 4), 0.0)
    half[:, :2] = torch.tensor([0.25, 0.75])
    mixed = (0.25 * t.weight[0] + 0.75 * t.weight[1] for t in (layer.gain, layer.bias))
    gain, bias = (t[None, :, None, None] for t in mixed)
    torch.testing.assert_close(layer(x, half), standard * gain + bias)
    with pytest.raises(ValueError, match=r"\(b, 4\)"):
        layer(x, torch.ones(5, 3))


def test_generator_block_is_the_drawn_one():
    torch.manual_seed(0)
    block = GeneratorBlock(4, 6, 3, spectral_norm=False).double()
    x, labels = torch.randn(2, 4, 5, 5, dtype=torch.float64), torch.tensor([0, 2])
    given = x.clone()

    def up(t):
        return t.repeat_interleave(2, 2).repeat_interleave(2, 3)

    reference = copy.deepcopy(block)
    h = reference.conv1(up(torch.relu(reference.norm1(x, labels))))
    h = reference.conv2(torch.relu(reference.norm2(h, labels)))
    torch.testing.assert_close(block(x, labels), h + reference.shortcut(up(x)))
    assert torch.equal(x, given)  # no ReLU in place before the shortcut


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("downsample", [True, False])
def test_discriminator_block_is_the_drawn_one(first, downsample):
    torch.manual_seed(0)
    block = DiscriminatorBlock(4, 6, downsample=downsample, spectral_norm=False, first=first).double()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    given = x.clone()
    h = block.conv2(torch.relu(block.conv1(x if first else torch.relu(x))))
    expected = h + block.shortcut(x)
    torch.testing.assert_close(block(x), functional.avg_pool2d(expected, 2) if downsample else expected)
    assert torch.equal(x, given)
