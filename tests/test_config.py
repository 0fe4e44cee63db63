"""Configurations are read strictly, from whatever source."""

from typing import Literal

import pytest
import yaml
from pydantic import Field

from attnorm.config import Frozen, derive, differences, flat, parse, parse_overrides, read_yaml, to_yaml
from attnorm.presets import NAMES, get_preset
from attnorm.training.class_conditional import ClassConditionalConfig
from tests.runs import refusal


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
        (["5"], "unexpected argument '5': fields are set as --name value"),
        (["--steps", "5", "6"], "command line: steps must be a valid integer, got [5, 6]"),
        (["--steps", "[1"], "--steps: cannot read '[1' as a value"),
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
