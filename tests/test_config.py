"""Configurations are read strictly, from whatever source."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from attnorm.config import derive, from_dict, nearest, override, read_yaml, to_dict, to_yaml
from attnorm.errors import UserError
from attnorm.presets import PRESETS, get_preset
from attnorm.training.class_conditional import ClassConditionalConfig


@dataclass(frozen=True)
class Layer:
    scale: float = 1.0
    bound: float | None = None


@dataclass(frozen=True)
class Net:
    widths: tuple[int, ...] = (4, 4)
    layer: Layer = field(default_factory=Layer)


@dataclass(frozen=True)
class Sample:
    steps: int = 10
    rate: float = 0.5
    kind: Literal["plain", "fancy"] = "plain"
    flip: bool = True
    betas: tuple[float, float] = (0.0, 0.9)
    name: str = ""
    net: Net = field(default_factory=Net)

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")


def refusal(kind, data):
    with pytest.raises(UserError) as caught:
        from_dict(kind, data, "here")
    return str(caught.value)


def test_missing_names_keep_their_defaults():
    assert from_dict(Sample, {"net": {"layer": {"scale": 2.5}}}, "here") == derive(Sample(), {"net.layer.scale": 2.5})


@pytest.mark.parametrize(
    ("data", "known"),
    [
        ({"stepz": 3}, "steps"),
        ({"net": {"width": [1]}}, "widths"),
        ({"net": {"layer": {"scael": 1.0}}}, "scale"),  # two levels down
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_name(data, known):
    message = refusal(Sample, data)
    assert message.startswith("here: unknown field ")
    assert message.endswith(f"did you mean {known!r}?")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"steps": "many"}, "here: steps must be a whole number, got 'many'"),
        ({"steps": 2.5}, "here: steps must be a whole number, got 2.5"),
        ({"steps": True}, "here: steps must be a whole number, got True"),  # YAML: steps: yes
        ({"rate": "fast"}, "here: rate must be a number, got 'fast'"),
        ({"rate": True}, "here: rate must be a number, got True"),
        ({"rate": [1.0]}, "here: rate must be a number, got (1.0,)"),
        ({"kind": "fancier"}, "here: kind must be one of 'plain', 'fancy', got 'fancier'"),
        ({"flip": 1}, "here: flip must be bool, got 1"),
        ({"name": 7}, "here: name must be str, got 7"),
        ({"steps": 0}, "here: steps must be at least 1, got 0"),
        ([1, 2], "here: expected names and values, got list"),
        (None, "here: expected names and values, got NoneType"),
    ],
)
def test_a_wrong_value_is_refused_by_name(data, message):
    assert refusal(Sample, data) == message


@pytest.mark.parametrize(
    "data",
    [
        {"betas": [0.1]},
        {"betas": [0.1, 0.2, 0.3]},
        {"net": 3},
        {"net": {"widths": ["a"]}},
        {"net": {"widths": 5}},
        {"net": {"widths": "55"}},  # two letters are no two numbers
    ],
)
def test_a_wrong_structure_is_refused_in_one_line(data):
    message = refusal(Sample, data)
    assert next(iter(data)) in message
    assert "\n" not in message


def test_yaml_floats_without_a_point_and_integers_are_floats(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("rate: 1e-4\nbetas: [0, 1e-1]\nnet: {layer: {bound: 2}}\n")
    config = from_dict(Sample, read_yaml(path), "here")
    assert config.rate == 1e-4
    assert config.betas == (0.0, 0.1)
    values = (config.rate, *config.betas, config.net.layer.bound)
    assert [type(value) for value in values] == [float] * 4


@pytest.mark.parametrize(
    ("arguments", "path", "value"),
    [
        (["--steps", "5"], "steps", 5),
        (["--steps=5"], "steps", 5),
        (["--rate", "1e-4"], "rate", 1e-4),
        (["--rate", "-1.5"], "rate", -1.5),
        (["--flip", "false"], "flip", False),
        (["--net.widths", "8", "8", "6"], "net.widths", (8, 8, 6)),
        (["--net.widths", "[8, 6]"], "net.widths", (8, 6)),
        (["--net.widths", "8"], "net.widths", (8,)),  # one value of a list is a list
        (["--net.layer.bound", "null"], "net.layer.bound", None),
        (["--name", "a=b"], "name", "a=b"),
        (["--name=a=b"], "name", "a=b"),
    ],
)
def test_override_sets_one_field(arguments, path, value):
    before = derive(Sample(), {"net.layer.bound": 3.0})
    assert override(before, arguments) == derive(before, {path: value})


def test_dashes_in_names_are_underscores_and_dashes_in_values_stay():
    config = override(ClassConditionalConfig(), ["--ema-half-life", "5", "--generator.latent-dim=7", "--data", "a-b"])
    assert (config.ema_half_life, config.generator.latent_dim, config.data) == (5.0, 7, "a-b")


def test_the_last_override_of_a_field_wins():
    assert override(Sample(), ["--steps", "5", "--steps", "6"]).steps == 6


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--steps"], "--steps needs a value"),
        (["--steps", "--rate", "1"], "--steps needs a value"),
        (["5"], "unexpected argument '5'"),
        (["--steps", "5", "6"], "steps must be a whole number, got (5, 6)"),
        (["--steps", "[1"], "--steps: '[1' cannot be read as a value"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--net.layer.scal", "5"], "did you mean 'scale'?"),
        (["--nett.layer.scale", "5"], "did you mean 'net'?"),
        (["--steps.deep", "5"], "--steps.deep: steps has no fields"),
        (["--steps.deeper.still", "5"], "--steps.deeper.still: steps has no fields"),
        (["--net", "5"], "net must be Net, got 5"),
    ],
)
def test_a_bad_override_is_refused(arguments, part):
    with pytest.raises(UserError) as caught:
        override(Sample(), arguments)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_the_way_through_a_yaml_file(name, tmp_path):
    config = get_preset(name)
    if isinstance(config, ClassConditionalConfig):
        config = config.for_classes(["no", "1e3", "012", "a: b", "ä", "null", "1_0", "0x1f", " padded "])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert from_dict(type(config), read_yaml(path), "here") == config


def test_to_dict_has_every_field_and_only_plain_types():
    assert to_dict(Sample()) == {
        "steps": 10,
        "rate": 0.5,
        "kind": "plain",
        "flip": True,
        "betas": [0.0, 0.9],
        "name": "",
        "net": {"widths": [4, 4], "layer": {"scale": 1.0, "bound": None}},
    }


@pytest.mark.parametrize("text", ["a: [1,", "a: b: c", "\t- x", "a: \x00"])
def test_a_broken_yaml_file_is_refused_in_one_line_with_its_name(text, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path} is not a readable YAML file")
    assert "\n" not in str(caught.value)


def test_a_missing_a_binary_and_an_unreadable_yaml_file_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01\xff")
    for path in (tmp_path / "binary.yaml", tmp_path):
        with pytest.raises(UserError, match="not a readable YAML file"):
            read_yaml(path)


def test_yaml_cannot_make_objects(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(f"a: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'made'}]\n")
    with pytest.raises(UserError):
        read_yaml(path)
    assert not (tmp_path / "made").exists()


def test_derive_changes_nested_fields_checks_them_and_leaves_the_original():
    before = Sample()
    after = derive(before, {"net.layer.scale": 9.0, "steps": 3})
    assert (after.net.layer.scale, after.steps, after.net.widths) == (9.0, 3, (4, 4))
    assert before == Sample()
    with pytest.raises(ValueError, match="at least 1"):
        derive(before, {"steps": 0})
    with pytest.raises(TypeError):
        derive(before, {"stepz": 1})


def test_nearest_names_the_closest_or_nothing():
    assert nearest("an-gan-digit", PRESETS) == ", did you mean 'an-gan-digits'?"
    assert nearest("qqqqqq", PRESETS) == ""


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--batch_size", "0"], "batch_size must be at least 1"),
        (["--keep_checkpoints", "0"], "keep_checkpoints must be at least 1"),
        (["--seed", "-1"], "seed must be from 0"),
        (["--seed", "4294967296"], "seed must be from 0"),
        (["--generator_lr", "0"], "generator_lr must be between 0 and 1"),
        (["--generator_lr", ".nan"], "generator_lr must be between 0 and 1"),
        (["--betas", "0", "1"], "betas must be in [0, 1)"),
        (["--ema_half_life", "-1"], "ema_half_life must not be negative"),
        (["--ema_half_life", ".nan"], "ema_half_life must not be negative"),
        (["--discriminator_steps", "0"], "discriminator_steps must be at least 1"),
        (
            ["--generator.channels", "8", "8", "8", "--generator.long_range.kind", "none"],
            "makes 16 x 16 pictures, not image_size 32",
        ),
        (["--generator.channels", "8", "8", "8", "1000000000"], "generator.channels must be from 1 to"),
        (["--generator.long_range.block", "3"], "generator.long_range.block must be from 0 to 2"),
        (["--generator.long_range.entity_std", "-1"], "entity_std must be positive"),
        (["--generator.long_range.temperature", "0"], "temperature must be positive"),
        # Self-sampling needs as many pixels as entities: 32 x 32 in the generator's block 2, 16 x 16 in the other's 1.
        (["--generator.long_range.num_entities", "1025"], "on 32 x 32 maps must be from 1 to 1024, got 1025"),
        (["--discriminator.long_range.num_entities", "257"], "on 16 x 16 maps must be from 1 to 256, got 257"),
        (["--discriminator.concat_after", "4"], "discriminator.concat_after must be from 1 to 3"),
        (["--discriminator.image_size", "64"], "the generator makes 32 pixels a side and the discriminator takes 64"),
        (["--task", "inpainting"], "task must be 'class-conditional'"),
    ],
)
def test_a_training_value_out_of_range_is_refused(arguments, part):
    with pytest.raises(UserError) as caught:
        override(get_preset("an-gan-digits"), arguments)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--task", "class-conditional"], "task must be 'inpainting'"),
        (["--critic.image_size", "128"], "the generator makes 64 pixels a side and the critic takes 128"),
        (["--generator.image_size", "63"], "generator.image_size must be a multiple of 4"),
        (["--crop_from", "60"], "crop_from must be at least the image size 64"),
        (["--discount", "0"], "discount must be above 0 and at most 1"),
        (["--val_fraction", "1"], "val_fraction must be between 0 and 1"),
        (["--val_seed", "-1"], "val_seed must be from 0"),
        (["--critic_lr", "1"], "critic_lr must be between 0 and 1"),
        (["--betas", "0.5", "1"], "betas must be in [0, 1)"),
        (["--critic_steps", "0"], "critic_steps must be at least 1"),
        (["--evaluate_every", "0"], "evaluate_every must be at least 1"),
        (["--adversarial_weight", "-1"], "adversarial_weight must not be negative"),
        (["--penalty_weight", ".nan"], "penalty_weight must not be negative"),
        (["--phases.at_step", "-1"], "phases.at_step must be at least 0"),
        (["--phases.improvement", "1"], "phases.improvement must be at least 0 and below 1"),
        (["--phases.patience", "0"], "phases.patience must be at least 1"),
        (["--masks.kind", "folder"], "are read from a folder: give --masks.folder"),
        (["--generator.branch.statistics", "batch"], "generator.branch.statistics must be 'instance' in inpainting"),
    ],
)
def test_an_inpainting_value_out_of_range_is_refused(arguments, part):
    with pytest.raises(UserError) as caught:
        override(get_preset("inpaint-an-64-cpu"), arguments)
    assert part in str(caught.value)


def test_for_classes_names_the_classes_in_both_networks():
    config = get_preset("an-gan-digits").for_classes(["a", "b", "c"])
    assert config.generator.class_names == ("a", "b", "c")
    assert (config.generator.num_classes, config.discriminator.num_classes) == (3, 3)
    assert config.for_classes(["x"]).generator.class_names == ("x",)  # from named classes to others
