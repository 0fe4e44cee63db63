"""Layouts and region statistics from the command line."""

import numpy as np
import pytest
from PIL import Image

from attnorm.plots.layouts import masked_images
from tests.networks import inpainter


def test_it_draws_a_row_a_picture_and_measures_the_layout(finished_run, tmp_path, output):
    path = tmp_path / "layouts.png"
    out = output("visualize", finished_run, "--labels", "3", "--count", "2", "-o", path).out
    assert out.startswith(f"{path}: 4 entities, sharpness 0.")
    assert "0.250 uniform" in out
    sheet = Image.open(path)
    assert sheet.height > 2 * 64 + 2
    assert sheet.width > 6 * 64 + 5 * 2  # picture, layout, four entities, after the name


def test_a_chart_of_the_regions_is_drawn_with_the_sheet(finished_run, tmp_path, output, refused):
    sheet, chart = tmp_path / "a.png", tmp_path / "new" / "regions.png"
    out = output("visualize", finished_run, "--count", "2", "-o", sheet, "--regions", chart).out
    assert out.splitlines()[1].startswith(f"{chart}: inside the regions, ")
    Image.open(chart).verify()
    assert "regions.png exists already" in refused("visualize", finished_run, "-o", "b.png", "--regions", chart)


def test_it_refuses_what_it_cannot_draw(finished_run, refused):
    regions = ["-o", "a.png", "--regions", "a.csv"]
    assert "must end in .png, .svg or .pdf" in refused("visualize", finished_run, *regions)
    entity = ["-o", "a.png", "--entities", "4"]
    assert "there is no entity 4: the model's entities are 0 to 3" in refused("visualize", finished_run, *entity)


def test_a_model_without_attentive_normalization_is_refused(plain_model, refused):
    assert "no attentive normalization" in refused("visualize", plain_model, "-o", "out.png")


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
    assert "is not an inpainting model" in refused("visualize", finished_run, "image.png", "mask.png", "-o", "s.png")
    assert "attnorm visualize MODEL IMAGE MASK" in refused("visualize", run, "-o", "s.png")
    both = ["visualize", run, "image.png", "mask.png", "-o", "s.png"]
    for option in (["--labels", "1"], ["--seed", 0], ["--regions", "r.png"]):
        assert f"{option[0]} is for class-conditional models" in refused(*both, *option)
    assert "there is no entity 4" in refused(*both, "--entities", 4)
    inpainter("none").save_pretrained(tmp_path / "plain")
    assert "no attentive normalization" in refused("visualize", "plain", "image.png", "mask.png", "-o", "s.png")
