"""`attnorm models` and `attnorm presets`, and commands that take a shipped model by its name."""

import json

from PIL import Image

from attnorm.config import to_dict
from attnorm.presets import PRESETS
from attnorm.shipped import shipped_models


def test_models_are_listed_with_what_tells_them_apart(output):
    lines = output("models").out.splitlines()
    assert lines[0].split() == ["name", "task", "size", "classes", "data", "metric"]
    assert [line.split()[0] for line in lines[1:]] == list(shipped_models())
    [digits] = [line for line in lines if line.startswith("an-gan-digits")]
    for part in ("class-conditional", "32×32", " 10 ", "digits", "fd-efficientnet-lite0-1797 "):
        assert part in digits


def test_a_card_is_printed_without_its_yaml(output):
    card = (shipped_models()["an-gan-digits"] / "README.md").read_text("utf-8")
    out = output("models", "an-gan-digits").out
    assert out.startswith("# ")
    assert card.rstrip().endswith(out.rstrip())


def test_models_and_presets_as_json(output):
    found = json.loads(output("models", "--json").out)
    assert [model["name"] for model in found] == list(shipped_models())
    one = json.loads(output("models", "an-gan-digits", "--json").out)
    assert one in found
    assert one["size"] == 32 and one["classes"] == list("0123456789") and one["licence"] == "mit"
    assert one["metrics"]["fd-efficientnet-lite0-1797"] > 0
    found = json.loads(output("presets", "--json").out)
    assert found == {name: json.loads(json.dumps(to_dict(preset))) for name, preset in PRESETS.items()}
    assert json.loads(output("presets", "an-gan-digits", "--json").out) == found["an-gan-digits"]


def test_an_unknown_name_is_refused_with_the_nearest(refused):
    assert "did you mean 'an-gan-digits'?" in refused("models", "an-gan-digit")
    assert "did you mean 'an-gan-digits'?" in refused("presets", "an-gan-digts")
    assert "`attnorm models` lists" in refused("generate", "quite-else", "-o", "grid.png")


def test_presets_are_listed_with_size_and_device(output):
    head, *lines = output("presets").out.splitlines()
    assert head.split() == ["preset", "size", "for", "a", "time", "on", "two", "cores"]
    rows = [line.split() for line in lines[: len(PRESETS)]]
    assert [row[0] for row in rows] == list(PRESETS)
    found = {row[0]: row[1:3] for row in rows}
    assert found["an-gan-digits"] == found["demo-digits"] == ["32×32", "CPU"]
    assert found["an-gan-imagenet128"] == ["128×128", "GPU"]
    assert found["inpaint-an-64-cpu"] == ["64×64", "CPU"]
    assert max(map(len, lines[: len(PRESETS)])) <= 80


def test_commands_take_the_name_of_a_shipped_model(output, tmp_path):
    grid, sheet, way = tmp_path / "grid.png", tmp_path / "layouts.png", tmp_path / "way.png"
    output("generate", "an-gan-digits", "--labels", "3", "--count", "2", "-o", grid)
    output("visualize", "an-gan-digits", "--count", "1", "-o", sheet)
    output("interpolate", "an-gan-digits", "--labels", "1", "7", "--rows", "1", "--frames", "2", "-o", way)
    for path in (grid, sheet, way):
        with Image.open(path) as image:
            assert image.convert("L").getextrema() != (255, 255)
