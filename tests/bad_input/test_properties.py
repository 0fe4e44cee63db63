"""Whatever a configuration, a mask or a feature map is like: it works, or there is one clear refusal."""

import dataclasses
import string
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from attnorm.config import derive, from_dict, override, read_yaml, to_dict, to_yaml
from attnorm.data.masks import MaskConfig, Masks
from attnorm.errors import UserError
from attnorm.layers import AttentiveNorm2d, ContextualAttention2d, SelfAttention2d, regional_norm
from attnorm.presets import PRESETS

few = settings(derandomize=True, max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
fewer = settings(few, max_examples=25)


def tried(call, *inputs, kind=UserError):
    """The result of a call and None, or None and its refusal; any other exception is a fault."""
    try:
        return call(*inputs), None
    except kind as error:
        return None, error


def leaves(config, prefix=""):
    """The dotted names of a configuration's fields with their types and values."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", hints[field.name], value


FIELDS = {kind: list(leaves(PRESETS[kind])) for kind in ("an-gan-digits", "inpaint-an-64-cpu")}
places = st.sampled_from([(preset, *field) for preset, fields in FIELDS.items() for field in fields])

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers(-(10**20), 10**20) | st.floats(width=64)
scalars = st.none() | st.booleans() | numbers | texts
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2))


def values_of(kind, value):
    """Values of a field's type, most of them in its range."""
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.integers(max(1, value // 2), value * 2 + 1)
    if isinstance(value, float):
        return st.floats(value / 2, min(value * 1.5, 0.9) if 0 < value < 1 else value * 1.5 + 0.25)
    return texts if isinstance(value, str) else st.just(value)


@few
@given(st.data())
def test_any_valid_configuration_survives_yaml_and_the_command_line(tmp_path_factory, data):
    preset = data.draw(st.sampled_from(list(PRESETS)))
    config = PRESETS[preset]
    for path, kind, value in data.draw(st.lists(st.sampled_from(list(leaves(config))), max_size=4)):
        try:
            config = derive(config, {path: data.draw(values_of(kind, value))})
        except ValueError:
            assume(False)  # fields that do not fit together are another test's
    file = tmp_path_factory.mktemp("yaml") / "config.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    assert from_dict(type(config), read_yaml(file), "here") == config
    arguments = []
    for path, _, value in leaves(config):
        plain = list(value) if isinstance(value, tuple) else value
        arguments += [f"--{path}={yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=10**9)}"]
    assert override(PRESETS[preset], arguments) == config


@few
@given(places, anything)
def test_any_value_in_any_field_is_taken_or_refused_in_one_sentence(place, value):
    preset, path, kind, _ = place
    data = to_dict(PRESETS[preset])
    *parents, leaf = path.split(".")
    target = data
    for parent in parents:
        target = target[parent]
    target[leaf] = value
    config, refusal = tried(from_dict, type(PRESETS[preset]), data, "here")
    if refusal is not None:
        assert str(refusal).startswith("here: ")
        assert len(str(refusal)) < 1000
        return
    assert to_dict(config) is not None
    assert kind is not bool or isinstance(value, bool)
    assert kind is not int or (isinstance(value, int) and not isinstance(value, bool))


@few
@given(st.dictionaries(texts, anything, max_size=4) | anything)
def test_any_content_of_a_file_is_refused_in_one_sentence(content):
    for preset in ("an-gan-digits", "inpaint-an-64-cpu"):
        kind = type(PRESETS[preset])
        config, refusal = tried(from_dict, kind, content, "here")
        assert config is None or set(content) <= {field.name for field in dataclasses.fields(kind)}
        assert refusal is None or str(refusal).startswith("here: ")


@few
@given(st.text(st.sampled_from(string.printable), max_size=40))
def test_any_text_is_yaml_or_refused(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("text") / "config.yaml"
    file.write_text(text)
    _, refusal = tried(read_yaml, file)
    assert refusal is None or "is not a readable YAML file" in str(refusal)
    assert refusal is None or "\n" not in str(refusal)


@few
@given(st.lists(texts | st.sampled_from(["--steps", "--generator.channels", "--betas", "5", "0.5"]), max_size=4))
def test_any_arguments_are_taken_or_refused(arguments):
    config, refusal = tried(override, PRESETS["an-gan-digits"], arguments)
    assert (config is None) == (refusal is not None)
    assert refusal is None or len(str(refusal)) < 1000


shares = st.tuples(st.floats(0.01, 0.6), st.floats(0.0, 0.3)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@few
@given(
    st.sampled_from(["centre", "rectangle", "rectangles", "strokes"]),
    shares,
    st.floats(1, 4),
    st.tuples(st.integers(2, 70), st.integers(2, 70)),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
)
def test_any_mask_has_its_share_and_is_a_function_of_seed_and_index(kind, fraction, aspect, size, seed, index):
    config = MaskConfig(kind=kind, fraction=fraction, aspect=aspect)
    masks, refusal = tried(Masks, config, size)
    if refusal is not None:
        assert kind == "centre" and "lower the mask fraction" in str(refusal)
        return
    hole = masks(seed, index)
    assert hole.shape == size and hole.dtype == bool
    assert hole.any() and not hole.all()
    assert np.array_equal(hole, masks(seed, index))
    assert np.array_equal(masks.batch(seed, [index])[0], hole)
    missing, pixels = np.count_nonzero(hole), hole.size
    slack = 1 if kind == "strokes" else max(size)  # rectangles keep to it within a row or column
    if kind in ("rectangle", "strokes"):
        assert fraction[0] * pixels - slack <= missing <= fraction[1] * pixels + slack
    if kind == "rectangles":
        assert missing >= min(np.floor(fraction[0] * pixels), pixels - 1)


shapes = st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(0, 7), st.integers(0, 7))


@few
@given(
    shapes,
    st.integers(1, 9),
    st.sampled_from(["instance", "batch"]),
    st.sampled_from(["entity", "shared", "none"]),
    st.sampled_from(["weighted", "algorithm1"]),
    st.booleans(),
    st.booleans(),
)
def test_a_map_of_any_shape_is_normalised_or_refused(shape, entities, statistics, affine, variance, sampling, training):
    torch.manual_seed(0)
    options = {"statistics": statistics, "affine": affine, "variance": variance, "self_sampling": sampling}
    layer = AttentiveNorm2d(shape[1], entities, temperature=1.0, **options).train(training)
    torch.nn.init.ones_(layer.residual_gain)
    x = torch.randn(shape)
    y, refusal = tried(layer, x, kind=ValueError)
    if refusal is not None:
        too_few = training and sampling and shape[2] * shape[3] < entities
        assert 0 in shape[2:] or too_few or (shape[0] == 0 and statistics == "batch"), refusal
        return
    assert y.shape == x.shape and y.dtype == x.dtype
    assert torch.isfinite(y).all()
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    layout = layer.layout(x)
    assert layout.shape == (shape[0], entities, *shape[2:])
    assert (layout >= 0).all()
    torch.testing.assert_close(layout.sum(1), torch.ones(shape[0], *shape[2:]))


@fewer
@given(shapes, st.integers(0, 5), st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_the_operator_takes_any_shape_or_refuses_it(shape, regions, dtype):
    torch.manual_seed(0)
    v, s = torch.randn(shape).to(dtype), torch.rand(shape[0], regions, *shape[2:]).to(dtype)
    out, refusal = tried(regional_norm, v, s, kind=ValueError)
    assert (refusal is not None) == (0 in (*shape[1:], regions))
    if refusal is not None:
        return
    assert out.shape == v.shape and out.dtype == dtype
    assert torch.isfinite(out).all()


@fewer
@given(shapes)
def test_attention_takes_any_shape_or_refuses_it(shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    y, refusal = tried(SelfAttention2d(shape[1]).eval(), x, kind=ValueError)
    assert (refusal is not None) == (min(shape[2:]) < 2)
    assert y is None or y.shape == x.shape
    mask = (torch.rand(shape[0], 1, *shape[2:]) > 0.7).float()
    y, refusal = tried(ContextualAttention2d(), x, mask, kind=ValueError)
    assert (refusal is not None) == bool(shape[2] % 2 or shape[3] % 2 or 0 in shape[2:])
    assert y is None or (y.shape == x.shape and torch.isfinite(y).all())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_survives_yaml(preset, tmp_path):
    (tmp_path / "c.yaml").write_text(to_yaml(PRESETS[preset]), encoding="utf-8")
    assert from_dict(type(PRESETS[preset]), read_yaml(tmp_path / "c.yaml"), "here") == PRESETS[preset]
