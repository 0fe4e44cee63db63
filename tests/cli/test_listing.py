"""`attnorm models` and `attnorm presets`."""

import yaml

from attnorm.config import to_dict
from attnorm.presets import NAMES, get_preset
from attnorm.shipped import shipped_models


def test_models_are_listed_with_what_tells_them_apart(output):
    lines = output("models").out.splitlines()
    assert lines[0].split() == ["model", "task", "size", "classes", "data"]
    assert [line.split()[0] for line in lines[1 : lines.index("")]] == list(shipped_models())
    assert ["an-gan-digits", "class-conditional", "32×32", "10", "digits"] in map(str.split, lines)


def test_a_card_is_printed_without_its_yaml(output):
    card = (shipped_models()["an-gan-digits"] / "README.md").read_text("utf-8")
    out = output("models", "an-gan-digits").out
    assert out.startswith("# ")
    assert card.rstrip().endswith(out.rstrip())


def test_a_preset_is_printed_as_yaml(output):
    assert yaml.safe_load(output("presets", "an-gan-digits").out) == to_dict(get_preset("an-gan-digits"))


def test_an_unknown_name_is_refused_with_the_nearest(refused):
    assert "did you mean 'an-gan-digits'?" in refused("models", "an-gan-digit")
    assert "did you mean 'an-gan-digits'?" in refused("presets", "an-gan-digts")
    assert "`attnorm models` lists" in refused("generate", "quite-else", "-o", "grid.png")


def test_presets_are_listed_with_size_and_device(output):
    lines = output("presets").out.splitlines()[1 : 1 + len(NAMES)]
    found = {line.split()[0]: line.split()[1:3] for line in lines}
    assert list(found) == NAMES and max(map(len, lines)) <= 80
    assert found["an-gan-imagenet128"] == ["128×128", "GPU"]
    assert found["inpaint-an-64-cpu"] == ["64×64", "CPU"]
