"""The layer against float64 transcriptions of the paper's equations, on both of its ways."""

import copy
import itertools

import pytest
import torch
from torch import nn

from attnorm import AttentiveNorm2d, orthogonal_loss
from attnorm.layers import weights
from tests.layers import literal
from tests.layers.conftest import ORDERS, features, make_layer

pytestmark = pytest.mark.parametrize("backend", ["cpp", "reference"])


def literal_forward(layer, x, layout):
    value = literal.conv1x1(x, layer.value.weight, layer.value.bias)
    normalized = literal.regional_norm(value, layout, layer.weight, layer.bias, layer.variance, layer.eps)
    return layer.residual_gain * normalized + x


@pytest.mark.promise
@pytest.mark.parametrize(
    ("variance", "affine"), list(itertools.product(["weighted", "algorithm1"], ["entity", "shared", "none"]))
)
def test_eval_output_is_equations_3_to_6_without_sampling(variance, affine, backend):
    layer = make_layer(variance=variance, affine=affine, temperature=0.7).eval()
    x = features(2, 16, 6, 5)
    layout = literal.layout(x, layer.entities.weight.flatten(1), 0.7)
    torch.testing.assert_close(layer.layout(x), layout)
    torch.testing.assert_close(layer(x), literal_forward(layer, x, layout))


@pytest.mark.promise
@pytest.mark.parametrize(("side", "pool"), [((8, 8), 2), ((5, 7), 2), ((9, 6), 3), ((1, 4), 1), ((2, 2), 1)])
@pytest.mark.parametrize("order", ORDERS)
def test_training_output_adds_the_sampled_correlation(order, side, pool, backend):
    """Equation 2; the pooling shrinks until n positions are left, and its windows leave out the last odd row."""
    layer = make_layer(temperature=0.5, pool_size=3 if pool == 3 else 2).train()
    x = features(3, 16, *side, order=order).requires_grad_()
    correlation = literal.correlation(layer, x, pool, seed=5)
    expected = literal.layout(x, layer.entities.weight.flatten(1), 0.5, correlation, layer.sampling_gain)
    torch.testing.assert_close(layer.layout(x, torch.Generator().manual_seed(5)), expected)
    out, wanted = layer(x, torch.Generator().manual_seed(5)), literal_forward(layer, x, expected)
    torch.testing.assert_close(out, wanted)
    inputs = [x, *layer.parameters()]
    upstream = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    pairs = (torch.autograd.grad(t, inputs, upstream, materialize_grads=True) for t in (out, wanted))
    torch.testing.assert_close(*pairs, rtol=1e-6, atol=1e-9)


def test_positions_are_uniform_without_replacement_and_differ_between_images(backend):
    layer = AttentiveNorm2d(1, 4, pool_size=1).train()
    drawn, _ = layer._draw_positions(torch.empty(4000, 1, 3, 3), torch.Generator().manual_seed(0))
    assert drawn.shape == (4000, 4)
    assert all(len(set(row.tolist())) == 4 for row in drawn)
    frequency = drawn.flatten().bincount(minlength=9) / 4000
    assert (frequency - 4 / 9).abs().max() < 0.04  # five standard errors
    assert len({tuple(sorted(row.tolist())) for row in drawn}) > 100


def test_sampling_follows_the_generator_and_is_off_in_eval_mode(backend):
    layer, x = make_layer(), features(2, 16, 8, 8)
    first, again, other = (layer(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(1)  # the global generator draws the same
    assert torch.equal(first, layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    layer.key = layer.query = None
    assert layer(x).shape == x.shape


@pytest.mark.promise
def test_the_layer_starts_as_the_identity_with_the_papers_initial_values(backend):
    layer, x = AttentiveNorm2d(32, 8), features(2, 32, 8, 8, dtype=torch.float32)
    assert torch.equal(layer(x), x)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
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
    for name, number in (("residual_gain", 0.0), ("sampling_gain", 0.1), ("weight", 1.0), ("bias", 0.0)):
        assert torch.equal(getattr(layer, name), torch.full_like(getattr(layer, name), number))
    assert layer.orthogonal_loss() < 1e-10
    assert AttentiveNorm2d(32, variance="algorithm1").value.bias.shape == (32,)
    assert AttentiveNorm2d(4).key.out_channels == 1
    assert AttentiveNorm2d(8, affine="shared").weight.shape == (8,)
    assert AttentiveNorm2d(8, affine="none").weight is None


def test_batch_statistics_are_those_of_all_images_together(backend):
    layer = make_layer(statistics="batch", self_sampling=False).train()
    x = features(3, 16, 4, 5)
    layout = literal.layout(x, layer.entities.weight.flatten(1), 0.1)
    value = literal.conv1x1(x, layer.value.weight, layer.value.bias)
    # One image with the three side by side has the regions, and so the moments, of the batch.
    together = literal.regional_norm(
        torch.cat(list(value), dim=2)[None], torch.cat(list(layout), dim=2)[None], layer.weight, layer.bias, "weighted"
    )
    trained = layer(x)
    torch.testing.assert_close(trained, layer.residual_gain * torch.stack(together[0].split(5, dim=2)) + x)
    for _ in range(200):  # the running estimates of an unchanging batch converge to its own
        layer(x)
    layer.eval()
    torch.testing.assert_close(layer(x), trained, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(layer(x[:1]), trained[:1], rtol=1e-6, atol=1e-6)
    assert {"running_mean", "running_variance"} <= layer.state_dict().keys()


def test_orthogonal_loss_is_the_frobenius_norm_and_sums_over_a_model(backend):
    layer = make_layer()
    w = layer.entities.weight.flatten(1)
    expected = torch.linalg.matrix_norm(w @ w.t() - torch.eye(4, dtype=w.dtype)) ** 2
    torch.testing.assert_close(layer.orthogonal_loss(), expected)
    model = nn.Sequential(layer, nn.ReLU(), nn.Sequential(copy.deepcopy(layer)))
    torch.testing.assert_close(orthogonal_loss(model), 2 * expected)
    assert orthogonal_loss(nn.Conv2d(1, 1, 1)).item() == orthogonal_loss(nn.ReLU()).item() == 0
    assert layer.bfloat16().orthogonal_loss().dtype == torch.float32
    assert AttentiveNorm2d(64, 16, entity_std=0.5).entities.weight.std().item() == pytest.approx(0.5, rel=0.1)
    # More entities than channels cannot be orthonormal: the loss is at its minimum, n - c.
    assert AttentiveNorm2d(4, 6).orthogonal_loss().item() == pytest.approx(2, abs=1e-5)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_layer_that_is_called_twice(create_graph, backend):
    """Each parameter is an input of both calls: a graph of gradients must count no path twice."""
    layer, x = make_layer(8, 3).train(), features(2, 8, 6, 5).requires_grad_()

    def generator(seed):
        return torch.Generator().manual_seed(seed)

    def literally(t, seed):
        return literal_forward(layer, t, layer.layout(t, generator(seed)))

    inputs = [x, *layer.parameters()]
    twice, expected = layer(layer(x, generator(1)), generator(2)), literally(literally(x, 1), 2)
    found = torch.autograd.grad(twice.sin().sum(), inputs, create_graph=create_graph)
    torch.testing.assert_close(found, torch.autograd.grad(expected.sin().sum(), inputs), rtol=1e-6, atol=1e-8)


def test_spectral_norm_covers_key_query_and_value_and_iterates_once_a_call(backend, monkeypatch):
    torch.manual_seed(0)
    layer = AttentiveNorm2d(32, 8, spectral_norm=True, entity_std=3.0)
    for name in ("key", "query", "value"):
        sigma = torch.linalg.matrix_norm(getattr(layer, name).weight.flatten(1), 2).item()
        assert sigma == pytest.approx(1, abs=0.02), name
    assert torch.linalg.matrix_norm(layer.entities.weight.flatten(1), 2) > 2
    iterated, iterate = [], weights._iterate
    monkeypatch.setattr(weights, "_iterate", lambda norms, given: iterated.extend(norms) or iterate(norms, given))
    layer.train()(torch.randn(2, 32, 8, 8))
    assert len(iterated) == len(set(iterated)) == 3


@pytest.mark.parametrize(
    "options",
    [
        *({name: 0} for name in ("num_features", "num_entities", "key_channels", "pool_size", "eps")),
        *({name: "paper"} for name in ("statistics", "variance", "affine")),
        {"temperature": float("inf")},
        {"entity_std": -1.0},
    ],
    ids=str,
)
def test_wrong_options_are_named(options, backend):
    [name] = options
    with pytest.raises(ValueError, match=f"{name} must be (positive|one of)"):
        AttentiveNorm2d(**{"num_features": 8, **options})


def test_features_that_do_not_fit_are_named(backend):
    for shape in ((2, 8, 4), (2, 7, 4, 4), (2, 8, 0, 4)):
        with pytest.raises(ValueError, match="x must"):
            AttentiveNorm2d(8)(torch.ones(shape))
    layer = AttentiveNorm2d(4, 16)
    with pytest.raises(ValueError, match="16 positions, but the map has 3 x 5 pixels"):
        layer(torch.ones(1, 4, 3, 5))
    assert layer.eval()(torch.ones(1, 4, 3, 5)).shape == (1, 4, 3, 5)
