"""Configurations are read strictly, from whatever source."""

from typing import Literal

import pytest
import yaml
from pydantic import Field

from attnorm.config import Frozen, derive, differences, flat, parse, parse_overrides, read_json, read_yaml, to_yaml
from attnorm.errors import UserError
from attnorm.presets import NAMES, get_preset
from attnorm.training.class_conditional import ClassConditionalConfig


class Layer(Frozen):
    scale: float = 1.0
    bound: float | None = None


class Net(Frozen):
    widths: tuple[int, ...] = (4, 4)
    layer: Layer = Layer()


class Sample(Frozen):
    steps: int = Field(10, ge=1)
    rate: float = 0.5
    kind: Literal["plain", "fancy"] = "plain"
    betas: tuple[float, float] = (0.0, 0.9)
    name: str = ""
    net: Net = Net()
    other: Net = Net()


def override(config, arguments):
    return derive(config, parse_overrides(arguments, config), "command line")


def refusal(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.promise
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"stepz": 3}, "unknown field 'stepz', did you mean 'steps'?"),
        ({"net": {"width": [1]}}, "unknown field 'net.width', did you mean 'net.widths'?"),
        ({"net": {"layer": {"scael": 1.0}}}, "unknown field 'net.layer.scael', did you mean 'net.layer.scale'?"),
        # A name without its parents: every field that ends so.
        ({"widths": [1]}, "unknown field 'widths', did you mean 'net.widths' or 'other.widths'?"),
        ({"net": {"scale": 1.0}}, "unknown field 'net.scale', did you mean 'net.layer.scale' or 'other.layer.scale'?"),
        ({"qqqqqqq": 1}, "unknown field 'qqqqqqq'"),
        ({"steps": "many"}, "steps must be a valid integer, got 'many'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"rate": float("nan")}, "rate must be a finite number, got nan"),
        ({"kind": "fancier"}, "kind must be 'plain' or 'fancy', got 'fancier'"),
        ({"betas": [0.1]}, "the field 'betas.1' is missing"),
        ({"net": 3}, "net must be a valid dictionary, got 3"),
        ({"net": {"widths": ["a"]}}, "net.widths.0 must be a valid integer, got 'a'"),
        ([1, 2], "the content must be a valid dictionary, got [1, 2]"),
    ],
)
def test_a_wrong_field_or_value_is_named_whole(data, message):
    assert refusal(parse, Sample, data, "here") == f"here: {message}"


def test_json_is_read_with_the_same_messages(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"steps": 3')
    assert refusal(read_json, Sample, path).startswith(f"{path} is invalid: ")
    path.write_text('{"step": 3}')
    assert refusal(read_json, Sample, path) == f"{path} is invalid: unknown field 'step', did you mean 'steps'?"
    assert refusal(read_json, Sample, tmp_path / "none").startswith("cannot read ")


@pytest.mark.parametrize(
    ("arguments", "path", "value"),
    [
        (["--steps", "4", "--steps", "5"], "steps", 5),
        (["--rate", "1e-4"], "rate", 1e-4),  # text for YAML 1.1
        (["--net.widths", "8", "8", "6"], "net.widths", (8, 8, 6)),
        (["--net.widths", "8"], "net.widths", (8,)),  # one value of a list is a list
        (["--net.layer.bound", "null"], "net.layer.bound", None),
        (["--name", "a=b-c"], "name", "a=b-c"),
    ],
)
def test_an_override_sets_one_field(arguments, path, value):
    before = derive(Sample(), {"net.layer.bound": 3.0})
    after = override(before, arguments)
    assert after == derive(before, {path: value})
    assert {name for name, *_ in differences(before, after)} <= {path}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "--rate", "1"], "--steps needs a value"),
        (["5"], "unexpected argument '5': fields are set as --name value"),
        (["--steps", "5", "6"], "command line: steps must be a valid integer, got [5, 6]"),
        (["--steps", "[1"], "--steps: cannot read '[1' as a value"),
        (["--steps.deep", "5"], "unknown field 'steps.deep', did you mean 'steps'?"),
    ],
)
def test_a_bad_override_is_refused(arguments, message):
    assert refusal(override, Sample(), arguments).endswith(message)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_survives_the_way_through_a_yaml_file_and_the_command_line(name, tmp_path):
    config = get_preset(name)
    if isinstance(config, ClassConditionalConfig):
        config = config.for_classes(["no", "1e3", "012", "a: b", "ä", "null", "1_0", "0x1f", " padded "])
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert parse(type(config), read_yaml(path), "here") == config
    arguments = [f"--{field}={yaml.safe_dump(value, width=10**9)}" for field, value in flat(config).items()]
    assert override(get_preset(name), arguments) == config


@pytest.mark.promise
def test_yaml_cannot_make_objects(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(f"a: !!python/object/apply:pathlib.Path.touch [{tmp_path / 'made'}]\n")
    assert "not valid YAML" in refusal(read_yaml, path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("preset", "arguments", "part"),
    [
        ("an-gan-digits", ["--seed", "4294967296"], "seed must be less than 4294967296"),
        ("an-gan-digits", ["--ema-half-life", ".nan"], "ema_half_life must be a finite number"),
        ("an-gan-digits", ["--betas", "0", "1"], "betas.1 must be less than 1"),
        # Self-sampling needs as many pixels as entities: 32 x 32 in the generator's block 2, 16 x 16 in the other's 1.
        ("an-gan-digits", ["--generator.long_range.num_entities", "1025"], "at most 1024 on 32 x 32 maps, got 1025"),
        ("an-gan-digits", ["--discriminator.long_range.num_entities", "257"], "at most 256 on 16 x 16 maps, got 257"),
        ("an-gan-digits", ["--discriminator.concat_after", "4"], "discriminator.concat_after"),
        ("inpaint-an-64-cpu", ["--critic.local_size", "500"], "local_size"),
        ("inpaint-an-64-cpu", ["--generator.branch.statistics", "batch"], "must be 'instance' in inpainting"),
    ],
)
def test_a_training_value_out_of_range_is_refused(preset, arguments, part):
    assert part in refusal(override, get_preset(preset), arguments)
