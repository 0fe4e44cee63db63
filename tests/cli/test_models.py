"""`attnorm models`, and the commands that take a shipped model by its name."""

import json

from PIL import Image

from attnorm.shipped import shipped_models


def test_it_lists_every_model_with_what_tells_them_apart(output):
    lines = output("models").out.splitlines()
    assert lines[0].split() == ["name", "task", "size", "classes", "data", "metric"]
    assert [line.split()[0] for line in lines[1:]] == list(shipped_models())
    [digits] = [line for line in lines if line.startswith("an-gan-digits")]
    for part in ("class-conditional", "32×32", " 10 ", "digits", "fd-efficientnet-lite0-1797 "):
        assert part in digits


def test_a_script_can_read_it(output):
    found = json.loads(output("models", "--json").out)
    assert [model["name"] for model in found] == list(shipped_models())
    one = json.loads(output("models", "an-gan-digits", "--json").out)
    assert one in found
    assert one["size"] == 32 and one["classes"] == list("0123456789") and one["licence"] == "mit"
    assert one["metrics"]["fd-efficientnet-lite0-1797"] > 0


def test_a_name_prints_the_card(output):
    assert output("models", "an-gan-digits").out == (shipped_models()["an-gan-digits"] / "README.md").read_text("utf-8")


def test_an_unknown_name_is_refused_with_the_nearest(refused):
    assert "did you mean 'an-gan-digits'?" in refused("models", "an-gan-digit")
    assert "`attnorm models` lists" in refused("generate", "quite-else", "-o", "grid.png")


def test_commands_take_the_name(output, tmp_path):
    grid, sheet, way = tmp_path / "grid.png", tmp_path / "layouts.png", tmp_path / "way.png"
    output("generate", "an-gan-digits", "--labels", "3", "--count", "2", "-o", grid)
    output("visualize", "an-gan-digits", "--count", "1", "-o", sheet)
    output("interpolate", "an-gan-digits", "--labels", "1", "7", "--rows", "1", "--frames", "2", "-o", way)
    for path in (grid, sheet, way):
        with Image.open(path) as image:
            assert image.convert("L").getextrema() != (255, 255)
