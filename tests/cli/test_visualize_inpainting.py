"""`attnorm visualize MODEL IMAGE MASK`: an inpainter's layout over a picture."""

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm import memory
from attnorm.models.inpainting import BranchConfig, InpaintingGenerator, InpaintingGeneratorConfig
from attnorm.plots import entity_colours
from attnorm.plots.inpainting import layout_over, with_holes


@pytest.fixture
def files(tmp_path):
    """A picture of 150 × 130 pixels, its mask, and a picture with a transparent hole."""
    picture = np.random.default_rng(0).integers(0, 256, (130, 150, 3), np.uint8)
    mask = np.zeros((130, 150), np.uint8)
    mask[30:80, 40:90] = 255
    for name, content in (("picture", picture), ("mask", mask), ("cut", np.dstack([picture, 255 - mask]))):
        Image.fromarray(content).save(tmp_path / f"{name}.png")
    return picture, mask > 0


def test_the_sheet_shows_the_hole_the_completed_picture_and_the_layout(
    files, finished_inpainting_run, output, contains, tmp_path
):
    arguments = [tmp_path / "picture.png", tmp_path / "mask.png", "-o", tmp_path / "sheet.png", "--entities", 0, 3]
    out, _ = output("visualize", finished_inpainting_run, *arguments)
    assert "4 entities, sharpness 0." in out
    sheet, (picture, hole) = np.asarray(Image.open(tmp_path / "sheet.png")), files
    assert contains(sheet, with_holes(picture[None], hole[None])[0])
    output("inpaint", finished_inpainting_run, *arguments[:2], "-o", tmp_path / "completed.png")
    assert contains(sheet, np.asarray(Image.open(tmp_path / "completed.png")))
    output("visualize", finished_inpainting_run, tmp_path / "cut.png", "-o", tmp_path / "other.png", *arguments[4:])
    assert np.array_equal(sheet, np.asarray(Image.open(tmp_path / "other.png")))


def test_a_layout_lies_over_the_pictures_lightness():
    picture = np.full((4, 4, 3), 200, np.uint8)
    picture[:2] = 0
    layout = np.zeros((3, 2, 2))
    layout[1, :, 0], layout[2, :, 1] = 1, 1
    found, colours = layout_over(picture, layout), entity_colours(3).astype(float)
    for row, lightness in ((0, 0), (3, 200)):
        for column, entity in ((0, 1), (3, 2)):
            assert found[row, column] == pytest.approx(0.55 * colours[entity] + 0.45 * lightness, abs=0.51)


def test_a_picture_that_is_too_large_for_the_memory_is_refused(
    files, finished_inpainting_run, tmp_path, refused, monkeypatch
):
    Image.new("RGB", (1500, 1300)).save(tmp_path / "picture.png")
    Image.fromarray(files[1]).resize((1500, 1300)).save(tmp_path / "mask.png")
    monkeypatch.setattr(memory, "machine_memory", lambda: 300e6)
    arguments = [tmp_path / "picture.png", tmp_path / "mask.png", "-o", tmp_path / "sheet.png"]
    message = refused("visualize", finished_inpainting_run, *arguments)
    assert message.startswith("a layout of 1500×1300 pixels would take at least 0.4 GB")
    assert message.endswith("scale the picture down")


@pytest.mark.parametrize("command", ["generate", "interpolate"])
def test_an_inpainter_draws_no_pictures_of_its_own(command, finished_inpainting_run, tmp_path, refused):
    arguments = ["--labels", "0", "1", "-o", tmp_path / "sheet.png"]
    message = refused(command, finished_inpainting_run, *arguments)
    assert message.endswith("is an inpainting model: complete pictures with `attnorm inpaint`")


def test_what_cannot_be_drawn_is_refused(files, finished_inpainting_run, finished_run, tmp_path, refused):
    picture, mask, out = tmp_path / "picture.png", tmp_path / "mask.png", ("-o", tmp_path / "sheet.png")
    run = finished_inpainting_run
    assert "completes no pictures" in refused("visualize", finished_run, picture, mask, *out)
    assert "attnorm visualize MODEL IMAGE MASK" in refused("visualize", run, *out)
    assert "required: -o/--out" in refused("visualize", run, picture, mask)
    assert "--regions is for class-cond" in refused("visualize", run, picture, mask, "--regions", tmp_path / "r.png")
    assert "--labels is for class-conditional models" in refused("visualize", run, picture, mask, *out, "--labels", "1")
    assert "--seed is for class-conditional models" in refused("visualize", run, picture, mask, *out, "--seed", 0)
    assert "there is no entity 4" in refused("visualize", run, picture, mask, *out, "--entities", 4)
    assert "exists already" in refused("visualize", run, picture, mask, "-o", mask)
    Image.new("L", (20, 20)).save(tmp_path / "small.png")
    assert refused("visualize", run, picture, tmp_path / "small.png", *out).endswith(": give one of its size")
    Image.new("L", (150, 130)).save(tmp_path / "nothing.png")
    assert "no pixel" in refused("visualize", run, picture, tmp_path / "nothing.png", *out)
    (tmp_path / "text.png").write_text("text")
    assert "text.png" in refused("visualize", run, tmp_path / "text.png", mask, *out)
    config = InpaintingGeneratorConfig(image_size=32, width=4, branch=BranchConfig(kind="none"))
    torch.manual_seed(0)
    InpaintingGenerator(config).save_pretrained(tmp_path / "plain")
    assert "no attentive normalization" in refused("visualize", tmp_path / "plain", picture, mask, *out)
