"""Layouts and region statistics from the command line."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm.cli import main
from attnorm.layers import AttentiveNorm2d
from attnorm.models.inpainting import BranchConfig, InpaintingGenerator, InpaintingGeneratorConfig
from attnorm.plots.layouts import masked_images


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
    assert sorted(path.name for path in chart.parent.iterdir()) == ["regions.json", "regions.png"]
    Image.open(chart).verify()
    record = json.loads(chart.with_suffix(".json").read_text())
    assert record["labels"] == [0, 1, 2]
    whole, *regions = record["regions"]
    assert [row["region"] for row in record["regions"]] == ["whole map", 0, 1, 2, 3]
    assert sum(row["share"] for row in regions) == pytest.approx(1)
    assert 0 < record["variance_within_regions"] <= 1
    lines = out.splitlines()
    assert lines[1].split()[:2] == ["whole", "map"]
    assert f"{whole['std']:.3f}" in lines[1]
    assert lines[-1] == f"{chart}, {chart.with_suffix('.json')}"


def test_regions_without_pixels_have_no_numbers(finished_run, tmp_path, output, monkeypatch):
    real = AttentiveNorm2d.layout

    def without_the_third(layer, x, generator=None):
        return real(layer, x, generator).index_fill(1, torch.tensor([2]), 0.0)

    monkeypatch.setattr(AttentiveNorm2d, "layout", without_the_third)
    out = output("visualize", finished_run, "--count", "2", "--regions", tmp_path / "r.png").out
    record = json.loads((tmp_path / "r.json").read_text())  # valid JSON: no NaN
    row = record["regions"][3]
    assert (row["share"], row["mean"], row["std"]) == (0, None, None)
    assert out.splitlines()[4].split() == ["2", "0.000", "-", "-"]


def test_sheet_and_regions_may_be_asked_for_together(finished_run, tmp_path, output):
    output("visualize", finished_run, "--count", "2", "-o", tmp_path / "a.png", "--regions", tmp_path / "b.svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.json", "b.svg"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "give --out for the sheet, --regions for"),
        (["-o", "a.png", "--entities", "4"], "there is no entity 4: the model's entities are 0 to 3"),
        (["-o", "a.png", "--entities", "0", "-1"], "there is no entity -1"),
        (["-o", "a.png", "--entities", "all"], "--entities"),
        (["--regions", "a.csv"], "must end in .png, .svg or .pdf"),
    ],
)
def test_it_refuses_what_it_cannot_draw(arguments, part, finished_run, refused):
    assert part in refused("visualize", finished_run, *arguments)


@pytest.mark.parametrize("name", ["r.png", "r.json"])
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
    assert "train]'" in refused("visualize", finished_run, "--regions", "r.png")
    assert main(["visualize", str(finished_run), "--count", "1", "-o", str(tmp_path / "a.png")]) == 0


def test_the_same_seed_gives_the_same_bytes(finished_run, tmp_path, output):
    for name in ("a", "b"):
        output("visualize", finished_run, "--count", "2", "-o", tmp_path / f"{name}.png", "--seed", "5")
    assert np.array_equal(*(np.asarray(Image.open(tmp_path / f"{name}.png")) for name in "ab"))


@pytest.fixture
def files(tmp_path):
    """An image of 150 × 130 pixels, its mask, and an image that is transparent there."""
    image = np.random.default_rng(0).integers(0, 256, (130, 150, 3), np.uint8)
    mask = np.zeros((130, 150), np.uint8)
    mask[30:80, 40:90] = 255
    for name, content in (("image", image), ("mask", mask), ("cut", np.dstack([image, 255 - mask]))):
        Image.fromarray(content).save(tmp_path / f"{name}.png")
    return image, mask > 0


def test_of_an_inpainter_the_sheet_shows_mask_completion_and_layout(
    files, finished_inpainting_run, output, contains, tmp_path
):
    arguments = [tmp_path / "image.png", tmp_path / "mask.png", "-o", tmp_path / "sheet.png", "--entities", 0, 3]
    out, _ = output("visualize", finished_inpainting_run, *arguments)
    assert "4 entities, sharpness 0." in out
    sheet, (image, mask) = np.asarray(Image.open(tmp_path / "sheet.png")), files
    assert contains(sheet, masked_images(image[None], mask[None])[0])
    output("inpaint", finished_inpainting_run, *arguments[:2], "-o", tmp_path / "completed.png")
    assert contains(sheet, np.asarray(Image.open(tmp_path / "completed.png")))
    output("visualize", finished_inpainting_run, tmp_path / "cut.png", "-o", tmp_path / "other.png", *arguments[4:])
    assert np.array_equal(sheet, np.asarray(Image.open(tmp_path / "other.png")))


def test_of_an_inpainter_what_cannot_be_drawn_is_refused(
    files, finished_inpainting_run, finished_run, tmp_path, refused
):
    run = finished_inpainting_run
    assert "completes no images" in refused("visualize", finished_run, "image.png", "mask.png", "-o", "s.png")
    assert "attnorm visualize MODEL IMAGE MASK" in refused("visualize", run, "-o", "s.png")
    both = ["visualize", run, "image.png", "mask.png", "-o", "s.png"]
    for option in (["--labels", "1"], ["--seed", 0], ["--regions", "r.png"]):
        assert f"{option[0]} is for class-conditional models" in refused(*both, *option)
    assert "there is no entity 4" in refused(*both, "--entities", 4)
    Image.new("L", (20, 20)).save(tmp_path / "small.png")
    assert refused("visualize", run, "image.png", "small.png", "-o", "s.png").endswith(": give one of its size")
    (tmp_path / "text.png").write_text("text")
    assert "text.png" in refused("visualize", run, "text.png", "mask.png", "-o", "s.png")
    torch.manual_seed(0)
    config = InpaintingGeneratorConfig(image_size=32, width=4, branch=BranchConfig(kind="none"))
    InpaintingGenerator(config).save_pretrained(tmp_path / "plain")
    assert "no attentive normalization" in refused("visualize", "plain", "image.png", "mask.png", "-o", "s.png")
    for command in ("generate", "interpolate"):
        message = refused(command, run, "--labels", "0", "1", "-o", "s.png")
        assert "is an inpainting model" in message
