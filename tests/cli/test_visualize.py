"""Layouts and region statistics from the command line."""

import csv
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm.cli import main
from attnorm.layers import AttentiveNorm2d


def test_it_draws_a_row_a_picture_and_measures_the_layout(finished_run, tmp_path, output):
    path = tmp_path / "layouts.png"
    out = output("visualize", finished_run, "--labels", "3", "--count", "2", "-o", path).out
    assert out.startswith(f"{path}: 4 entities, sharpness 0.")
    assert "0.250 uniform" in out
    sheet = Image.open(path)
    assert sheet.height > 2 * 64 + 2
    assert sheet.width > 6 * 64 + 5 * 2  # picture, layout, four entities, after the name


def test_chosen_entities_make_a_narrower_sheet(finished_run, tmp_path, output):
    widths = []
    for entities in (["0", "1", "2", "3"], ["3", "0", "2"]):
        path = tmp_path / f"{len(entities)}.png"
        output("visualize", finished_run, "--count", "2", "--entities", *entities, "-o", path)
        widths.append(Image.open(path).width)
    assert widths[0] - widths[1] == 66


def test_regions_are_printed_drawn_and_written_as_the_same_numbers(finished_run, tmp_path, output):
    chart = tmp_path / "new" / "regions.png"
    out = output("visualize", finished_run, "--count", "3", "--regions", chart).out
    assert sorted(path.name for path in chart.parent.iterdir()) == ["regions.csv", "regions.json", "regions.png"]
    Image.open(chart).verify()
    with chart.with_suffix(".csv").open() as file:
        whole, *regions = csv.DictReader(file)
    record = json.loads(chart.with_suffix(".json").read_text())
    assert record["layer"] == "blocks.2.norm2"
    assert record["labels"] == [0, 1, 2]
    assert [row["region"] for row in record["regions"]] == ["whole map", 0, 1, 2, 3]
    assert [row["region"] for row in regions] == ["0", "1", "2", "3"]
    for row, same in zip([whole, *regions], record["regions"], strict=True):
        for name in ("share_argmax", "mean_argmax", "std_argmax", "share_weighted", "mean_weighted", "std_weighted"):
            assert (float(row[name]) if row[name] else None) == same[name]
    for way in ("argmax", "weighted"):
        assert sum(float(row[f"share_{way}"]) for row in regions) == pytest.approx(1)
        assert 0 < record["variance_within_regions"][way] <= 1
    lines = out.splitlines()
    assert lines[1].split()[:2] == ["whole", "map"]
    assert f"{float(whole['std_weighted']):.3f}" in lines[1]
    assert len({len(line) for line in lines[:6]}) == 1  # aligned
    assert lines[-1] == ", ".join(str(chart.with_suffix(end)) for end in (".png", ".csv", ".json"))


def test_regions_without_pixels_have_no_numbers(finished_run, tmp_path, output, monkeypatch):
    real = AttentiveNorm2d.layout

    def without_the_third(layer, x, generator=None):
        return real(layer, x, generator).index_fill(1, torch.tensor([2]), 0.0)

    monkeypatch.setattr(AttentiveNorm2d, "layout", without_the_third)
    out = output("visualize", finished_run, "--count", "2", "--regions", tmp_path / "r.png").out
    record = json.loads((tmp_path / "r.json").read_text())  # valid JSON: no NaN
    row = record["regions"][3]
    assert (row["share_argmax"], row["mean_argmax"], row["std_weighted"]) == (0, None, None)
    assert out.splitlines()[4].split() == ["2", "0.000", "-", "-", "0.000", "-", "-"]


def test_sheet_and_regions_may_be_asked_for_together(finished_run, tmp_path, output):
    output("visualize", finished_run, "--count", "2", "-o", tmp_path / "a.png", "--regions", tmp_path / "b.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.csv", "b.json", "b.svg"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "one of these is required: -o/--out for the sheet"),
        (["-o", "a.png", "--entities", "4"], "there is no entity 4: the model's entities are 0 to 3"),
        (["-o", "a.png", "--entities", "0", "-1"], "there is no entity -1"),
        (["-o", "a.png", "--entities", "all"], "invalid int value: 'all'"),
        (["-o", "a.png", "--regions", "a.png"], "-o and --regions are both a.png"),
        (["--regions", "a.csv"], "must end in a format such as .png"),
    ],
)
def test_it_refuses_what_it_cannot_draw(arguments, part, finished_run, refused):
    assert part in refused("visualize", finished_run, *arguments)


@pytest.mark.parametrize("name", ["r.png", "r.csv", "r.json"])
def test_no_file_of_the_regions_is_overwritten_without_force(name, finished_run, refused, tmp_path, output):
    (tmp_path / name).write_text("mine")
    assert f"{name} exists already" in refused("visualize", finished_run, "--regions", "r.png")
    output("visualize", finished_run, "--count", "2", "--regions", tmp_path / "r.png", "--force")
    assert (tmp_path / name).read_bytes() != b"mine"


def test_a_model_without_attentive_normalization_is_refused(plain_model, refused):
    for arguments in (["-o", "out.png"], ["--regions", "out.png"]):
        assert "no attentive normalization" in refused("visualize", plain_model, *arguments)


def test_without_matplotlib_regions_are_refused_and_the_sheet_is_drawn(finished_run, refused, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install 'attnorm[figures]'" in refused("visualize", finished_run, "--regions", "r.png")
    assert main(["visualize", str(finished_run), "--count", "1", "-o", str(tmp_path / "a.png")]) == 0


def test_the_same_seed_gives_the_same_bytes(finished_run, tmp_path, output):
    for name in ("a", "b"):
        output("visualize", finished_run, "--count", "2", "-o", tmp_path / f"{name}.png", "--seed", "5")
    assert np.array_equal(*(np.asarray(Image.open(tmp_path / f"{name}.png")) for name in "ab"))
