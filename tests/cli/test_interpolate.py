"""Interpolation from the command line."""

import numpy as np
import pytest
from PIL import Image

from attnorm import ClassConditionalPipeline


def test_a_sheet_with_the_maps_of_an_entity(finished_run, tmp_path, output, contains):
    path = tmp_path / "new" / "sheet.png"
    arguments = ["--labels", "3", "7", "--frames", "3", "--rows", "2", "--entity", "1", "-o", path]
    assert output("interpolate", finished_run, *arguments).out == f"{path}: with the maps of entity 1\n"
    sheet = np.asarray(Image.open(path))
    drawn = ClassConditionalPipeline.from_pretrained(finished_run).interpolate("3", "7", 3, 2)
    corner = drawn.images[1, 2].repeat(2, 0).repeat(2, 1)  # enlarged to 64 pixels
    assert contains(sheet, corner)


def test_a_model_without_a_layout_has_a_sheet_without_maps(plain_model, tmp_path, output, refused):
    path = tmp_path / "sheet.png"
    arguments = ["interpolate", plain_model, "--labels", "cat", "dog", "--frames", "3", "--rows", "2", "-o"]
    assert output(*arguments, path).out == f"{path}\n"
    assert refused(*arguments, "s.png", "--entity", 0).endswith("layers have none: leave --entity out")


def test_a_film_goes_there_and_back(plain_model, tmp_path, output):
    path = tmp_path / "film.gif"
    arguments = ["--labels", "cat", "1", "--rows", "2", "-o", tmp_path / "sheet.png", "--animation", path]
    out = output("interpolate", plain_model, *arguments, "--seconds", "0.3").out
    assert out.splitlines()[-1] == str(path)
    with Image.open(path) as film:
        assert film.info["duration"] == 50
        assert film.n_frames == 12  # 7 there, at 20 a second with both ends; 5 back, without them


def test_it_refuses_what_it_cannot_do(finished_run, refused):
    arguments = ["interpolate", finished_run, "--labels", "3", "7", "-o", "sheet.png"]
    assert "there is no entity 4: the model's entities are 0 to 3" in refused(*arguments, "--entity", "4")
    assert "must end in .gif or .mp4" in refused(*arguments, "--animation", "film.avi")


@pytest.mark.parametrize("name", ["sheet.png", "film.gif"])
def test_nothing_is_overwritten_without_force(name, plain_model, refused, tmp_path, output):
    (tmp_path / name).write_text("mine")
    arguments = ["interpolate", plain_model, "--labels", "cat", "dog", "--rows", "1", "--seconds", "0.1"]
    files = ["-o", tmp_path / "sheet.png", "--animation", tmp_path / "film.gif"]
    assert f"{name} exists already: give --force" in refused(*arguments, *files)
    output(*arguments, *files, "--force")
    Image.open(tmp_path / name).verify()
