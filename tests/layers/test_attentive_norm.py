"""The layer against float64 transcriptions of the paper's equations, and in the places where people put layers."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

from attnorm import AttentiveNorm2d, SemanticLayout, orthogonal_loss
from attnorm.layers.entity_projection import draw_pixels
from tests.layers import literal


def make_layer(channels: int = 16, entities: int = 4, **options: object) -> AttentiveNorm2d:
    """A float64 layer with no parameter at its initial value, so that each one matters."""
    torch.manual_seed(0)
    layer = AttentiveNorm2d(channels, entities, **options).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def features(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def literal_forward(layer: AttentiveNorm2d, x: Tensor, layout: Tensor) -> Tensor:
    value = literal.conv1x1(x, layer.value.weight, layer.value.bias)
    normalised = literal.regional_norm(value, layout, layer.weight, layer.bias, layer.variance, layer.eps)
    return layer.residual_gain * normalised + x


@pytest.mark.parametrize(
    ("variance", "affine"), list(itertools.product(["weighted", "algorithm1"], ["entity", "shared", "none"]))
)
def test_eval_output_is_equations_3_to_6_without_sampling(variance: str, affine: str) -> None:
    layer = make_layer(variance=variance, affine=affine, temperature=0.7).eval()
    x = features(2, 16, 6, 5)
    layout = literal.layout(x, layer.entities.weight.flatten(1), 0.7)
    torch.testing.assert_close(layer.layout(x), layout)
    torch.testing.assert_close(layer(x), literal_forward(layer, x, layout))


def test_training_layout_adds_the_sampled_correlation() -> None:
    """Equation 2, with the positions recovered from the filters that the layer must have drawn."""
    layer = make_layer(temperature=0.5).train()
    x = features(3, 16, 8, 8)
    pooled = nn.functional.max_pool2d(literal.conv1x1(x, layer.key.weight, layer.key.bias), 2).flatten(2)
    scores = torch.rand(3, 1, 16, generator=torch.Generator().manual_seed(5))
    positions = scores.topk(4, dim=2).indices[:, 0]
    query = literal.conv1x1(x, layer.query.weight, layer.query.bias)
    correlation = torch.stack(
        [torch.einsum("kn,khw->nhw", pooled[i][:, positions[i]], query[i]) for i in range(len(x))]
    )
    expected = literal.layout(x, layer.entities.weight.flatten(1), 0.5, correlation, layer.sampling_gain)
    torch.testing.assert_close(layer.layout(x, torch.Generator().manual_seed(5)), expected)
    torch.testing.assert_close(layer(x, torch.Generator().manual_seed(5)), literal_forward(layer, x, expected))


def test_positions_are_uniform_without_replacement_and_differ_between_images() -> None:
    drawn = draw_pixels(torch.empty(4000, 1, 3, 3), 4, 1, torch.Generator().manual_seed(0)).squeeze(2)
    assert drawn.shape == (4000, 4)
    assert all(len(set(row.tolist())) == 4 for row in drawn)
    frequency = drawn.flatten().bincount(minlength=9) / 4000
    assert (frequency - 4 / 9).abs().max() < 0.04  # five standard errors
    assert len({tuple(sorted(row.tolist())) for row in drawn}) > 100


def test_a_position_stands_for_the_pixels_that_are_pooled_there() -> None:
    """On a 5 x 7 map pooled by 2 there are 2 x 3 positions; the last row and column are in none."""
    drawn = draw_pixels(torch.empty(1, 1, 5, 7), 6, 2, torch.Generator().manual_seed(0))[0]
    assert sorted(map(tuple, drawn.tolist())) == [
        (7 * y + x, 7 * y + x + 1, 7 * y + x + 7, 7 * y + x + 8) for y in (0, 2) for x in (0, 2, 4)
    ]


def test_sampling_follows_the_generator_and_is_off_in_eval_mode() -> None:
    layer, x = make_layer(), features(2, 16, 8, 8)
    first, again, other = (layer(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    without = make_layer(self_sampling=False).train()
    assert torch.equal(without(x), without(x))


def test_the_layer_starts_as_the_identity_with_the_papers_initial_values() -> None:
    layer, x = AttentiveNorm2d(16, 4), features(2, 16, 8, 8, dtype=torch.float32)
    assert torch.equal(layer(x), x)
    assert layer.residual_gain.item() == 0
    assert torch.equal(layer.sampling_gain, torch.full((4,), 0.1))
    assert torch.equal(layer.weight, torch.ones(4, 16))
    assert torch.equal(layer.bias, torch.zeros(4, 16))
    assert layer.orthogonal_loss() < 1e-10


def test_parameters_have_their_public_names_and_shapes() -> None:
    shapes = {name: tuple(p.shape) for name, p in AttentiveNorm2d(32, 8).named_parameters()}
    assert shapes == {
        "entities.weight": (8, 32, 1, 1),
        "key.weight": (4, 32, 1, 1),
        "key.bias": (4,),
        "query.weight": (4, 32, 1, 1),
        "query.bias": (4,),
        "value.weight": (32, 32, 1, 1),
        "sampling_gain": (8,),
        "weight": (8, 32),
        "bias": (8, 32),
        "residual_gain": (1,),  # FSDP takes no scalars
    }
    assert AttentiveNorm2d(32, variance="algorithm1").value.bias.shape == (32,)
    assert AttentiveNorm2d(4).key.out_channels == 1
    assert AttentiveNorm2d(8, affine="shared").weight.shape == (8,)
    assert AttentiveNorm2d(8, affine="none").weight is None


def test_batch_statistics_are_those_of_all_images_together() -> None:
    layer = make_layer(statistics="batch", self_sampling=False).train()
    x = features(3, 16, 4, 5)
    layout = literal.layout(x, layer.entities.weight.flatten(1), 0.1)
    value = literal.conv1x1(x, layer.value.weight, layer.value.bias)
    # One image with the three side by side has the regions, and so the moments, of the batch.
    together = literal.regional_norm(
        torch.cat(list(value), dim=2)[None], torch.cat(list(layout), dim=2)[None], layer.weight, layer.bias, "weighted"
    )
    expected = layer.residual_gain * torch.stack(together[0].split(5, dim=2)) + x
    torch.testing.assert_close(layer(x), expected)


def test_batch_statistics_in_eval_mode_are_the_running_ones() -> None:
    layer = make_layer(statistics="batch", self_sampling=False).train()
    x = features(3, 16, 8, 8)
    trained = layer(x)
    for _ in range(200):  # the running estimates of an unchanging batch converge to its own
        layer(x)
    layer.eval()
    torch.testing.assert_close(layer(x), trained, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(layer(x[:1]), trained[:1], rtol=1e-6, atol=1e-6)
    assert {"running_mean", "running_variance"} <= layer.state_dict().keys()


def test_orthogonal_loss_is_the_frobenius_norm_and_sums_over_a_model() -> None:
    layer = make_layer()
    w = layer.entities.weight.flatten(1)
    expected = torch.linalg.matrix_norm(w @ w.t() - torch.eye(4, dtype=w.dtype)) ** 2
    torch.testing.assert_close(layer.orthogonal_loss(), expected)
    model = nn.Sequential(layer, nn.ReLU(), nn.Sequential(copy.deepcopy(layer)))
    torch.testing.assert_close(orthogonal_loss(model), 2 * expected)
    assert orthogonal_loss(nn.Conv2d(1, 1, 1)).item() == 0
    assert orthogonal_loss(nn.ReLU()).item() == 0


def test_initial_entities() -> None:
    assert AttentiveNorm2d(64, 16, entity_std=0.5).entities.weight.std().item() == pytest.approx(0.5, rel=0.1)
    # More entities than channels cannot be orthonormal: the loss is at its minimum, n - c.
    assert AttentiveNorm2d(4, 6).orthogonal_loss().item() == pytest.approx(2, abs=1e-5)


@pytest.mark.parametrize("variance", ["weighted", "algorithm1"])
def test_gradients_reach_every_parameter(variance: str) -> None:
    layer = make_layer(spectral_norm=True, variance=variance).train()
    layer(features(2, 16, 8, 8)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.abs().max() > 1e-9, name


def test_second_derivatives_of_the_whole_layer() -> None:
    """What a gradient penalty needs of a critic with the layer in it."""
    layer = make_layer(8, 3).train()

    def function(x: Tensor) -> Tensor:
        return layer(x, torch.Generator().manual_seed(0))

    assert torch.autograd.gradgradcheck(function, (features(1, 8, 4, 4).requires_grad_(),))


@pytest.mark.parametrize("side", [(1, 16), (2, 2), (3, 3), (5, 4), (17, 31)])
def test_any_map_with_enough_pixels_can_be_trained_on(side: tuple[int, int]) -> None:
    layer, x = make_layer().train(), features(2, 16, *side).requires_grad_()
    out = layer(x, torch.Generator().manual_seed(5))
    expected = literal_forward(layer, x, layer.layout(x, torch.Generator().manual_seed(5)))
    torch.testing.assert_close(out, expected)
    inputs = [x, *layer.parameters()]
    upstream = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    found, wanted = (torch.autograd.grad(t, inputs, upstream, materialize_grads=True) for t in (out, expected))
    for one, truth in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, truth, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("statistics", ["instance", "batch"])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_the_memory_format_is_kept(training: bool, statistics: str, order: torch.memory_format) -> None:
    layer = make_layer(statistics=statistics).train(training)
    assert layer(features(2, 16, 6, 5).contiguous(memory_format=order)).is_contiguous(memory_format=order)


@pytest.mark.parametrize("backward", [False, True])
def test_a_layer_that_is_called_twice(backward: bool) -> None:
    """Each parameter is an input of both calls: a graph of gradients must count no path twice."""
    layer, x = make_layer(8, 3).train(), features(2, 8, 6, 5).requires_grad_()

    def twice(call) -> Tensor:
        return call(call(x, 1), 2)

    def literally(t: Tensor, seed: int) -> Tensor:
        return literal_forward(layer, t, layer.layout(t, torch.Generator().manual_seed(seed)))

    inputs = [x, *layer.parameters()]
    found = torch.autograd.grad(
        twice(lambda t, seed: layer(t, torch.Generator().manual_seed(seed))).sin().sum(), inputs, create_graph=backward
    )
    wanted = torch.autograd.grad(twice(literally).sin().sum(), inputs)
    for one, truth in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, truth, rtol=1e-6, atol=1e-8)


def test_the_orthogonal_loss_of_a_layer_in_half_precision_is_float32() -> None:
    layer = make_layer().bfloat16()
    w = layer.entities.weight.detach().flatten(1).double()
    expected = (w @ w.t() - torch.eye(4)).square().sum()
    assert layer.orthogonal_loss().dtype == torch.float32
    torch.testing.assert_close(layer.orthogonal_loss().double(), expected, rtol=1e-5, atol=0)


def test_pooling_shrinks_until_n_positions_are_left() -> None:
    layer = AttentiveNorm2d(4, 6, pool_size=3)
    assert [layer._pool_size_for(*side) for side in [(9, 6), (6, 4), (3, 2)]] == [3, 2, 1]


def test_fewer_pixels_than_entities_is_an_error_only_where_positions_are_drawn() -> None:
    layer = AttentiveNorm2d(4, 16)
    with pytest.raises(ValueError, match="16 positions, but the map has 3 x 5 pixels"):
        layer(torch.ones(1, 4, 3, 5))
    assert layer.eval()(torch.ones(1, 4, 3, 5)).shape == (1, 4, 3, 5)


@pytest.mark.parametrize("training", [True, False])
def test_autocast_keeps_layout_and_moments_in_float32(training: bool) -> None:
    layer = make_layer(temperature=2.0).float().train(training)
    x = features(4, 16, 16, 16, dtype=torch.float32) + 20  # squares of 20 + noise lose the noise in bf16
    exact = layer(x, torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        layout = layer.layout(x)
        out = layer(x, torch.Generator().manual_seed(0))
    assert layout.dtype == torch.float32
    torch.testing.assert_close(layout.sum(1), torch.ones(4, 16, 16))
    assert out.dtype == torch.float32
    assert (out - exact).abs().max() < 0.05 * (exact - x).abs().max() + 0.15


def test_bf16_features_come_back_as_bf16_channels_last() -> None:
    layer = make_layer().float().to(memory_format=torch.channels_last)
    x = features(2, 16, 8, 8, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("statistics", ["instance", "batch"])
def test_compiled_layer_has_the_same_values_and_gradients(statistics: str) -> None:
    torch._dynamo.reset()
    ours = make_layer(statistics=statistics, self_sampling=False).train()
    theirs = copy.deepcopy(ours)
    x = features(2, 16, 8, 8)
    compiled = torch.compile(ours, fullgraph=True)
    compiled(x).square().sum().backward()
    theirs(x).square().sum().backward()
    for (name, found), wanted in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if wanted.grad is not None:
            torch.testing.assert_close(found.grad, wanted.grad, msg=lambda m, name=name: f"{name}: {m}")
    torch.testing.assert_close(compiled(x), theirs(x))


def test_self_sampling_compiles_without_a_graph_break() -> None:
    torch._dynamo.reset()
    layer = make_layer().train()
    x = features(2, 16, 8, 8).requires_grad_()
    out = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    out.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_copies_and_state_dicts_are_independent_and_equal() -> None:
    layer = make_layer(statistics="batch", spectral_norm=True).train()
    x = features(2, 16, 8, 8)
    layer(x).sum().backward()
    twin = copy.deepcopy(layer)
    other = AttentiveNorm2d(16, 4, statistics="batch", spectral_norm=True).double()
    other.load_state_dict(layer.state_dict())
    for module in (layer, twin, other):
        module.eval()
    assert torch.equal(layer(x), twin(x))
    assert torch.equal(layer(x), other(x))
    with torch.no_grad():
        twin.residual_gain.add_(1)
    assert not torch.equal(layer(x), twin(x))


def test_spectral_norm_covers_key_query_and_value_but_not_the_entities() -> None:
    layer = AttentiveNorm2d(32, 8, spectral_norm=True, entity_std=3.0)
    for name in ("key", "query", "value"):
        sigma = torch.linalg.matrix_norm(getattr(layer, name).weight.flatten(1), 2).item()
        assert sigma == pytest.approx(1, abs=0.02), name
    assert torch.linalg.matrix_norm(layer.entities.weight.flatten(1), 2) > 2


def test_meta_device() -> None:
    with torch.device("meta"):
        layer = AttentiveNorm2d(16, 4, spectral_norm=True)
        out = layer(torch.empty(2, 16, 8, 8))
    assert out.device.type == "meta"
    assert out.shape == (2, 16, 8, 8)


def test_semantic_layout_is_a_layer_of_its_own() -> None:
    layout = SemanticLayout(8, 5).eval()
    found = layout(torch.randn(2, 8, 4, 4))
    torch.testing.assert_close(found.sum(1), torch.ones(2, 4, 4))
    assert found.shape == (2, 5, 4, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_features": 0}, "num_features must be positive"),
        ({"num_entities": 0}, "num_entities must be positive"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": float("inf")}, "temperature must be positive and finite"),
        ({"statistics": "layer"}, "statistics must be one of"),
        ({"variance": "paper"}, "variance must be one of"),
        ({"affine": "pixel"}, "affine must be one of"),
        ({"key_channels": 0}, "key_channels must be positive"),
        ({"pool_size": 0}, "pool_size must be positive"),
        ({"entity_std": -1.0}, "entity_std must be positive"),
        ({"eps": 0.0}, "eps must be positive"),
    ],
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AttentiveNorm2d(**{"num_features": 8, **options})


@pytest.mark.parametrize("shape", [(2, 8, 4), (2, 7, 4, 4), (2, 8, 0, 4)])
def test_maps_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="x must"):
        AttentiveNorm2d(8)(torch.ones(shape))


def test_without_self_sampling_its_parameters_are_frozen_and_all_others_get_a_gradient():
    layer = AttentiveNorm2d(16, 4, self_sampling=False)
    with torch.no_grad():
        layer.residual_gain.fill_(1)
    layer(torch.randn(2, 16, 8, 8)).square().sum().backward()
    frozen = {name for name, p in layer.named_parameters() if not p.requires_grad}
    assert {name.split(".")[0] for name in frozen} == {"key", "query", "sampling_gain"}
    assert all(p.grad is not None for p in layer.parameters() if p.requires_grad)
