"""Interpolation from the command line."""

import av
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


def test_a_model_without_a_layout_has_a_sheet_without_maps(plain_model, finished_run, tmp_path, output, refused):
    path = tmp_path / "sheet.png"
    arguments = ["--frames", "3", "--rows", "2", "-o"]
    assert output("interpolate", plain_model, "--labels", "cat", "dog", *arguments, path).out == f"{path}\n"
    output("interpolate", finished_run, "--labels", "3", "7", *arguments, tmp_path / "other.png")
    with Image.open(path) as plain, Image.open(tmp_path / "other.png") as other:
        assert other.height - plain.height > 2 * 64
    refusal = refused("interpolate", plain_model, "--labels", "cat", "dog", "--entity", 0, *arguments, "s.png")
    assert refusal.endswith("layers have none: leave --entity out")


@pytest.mark.parametrize("name", ["film.gif", "film.mp4"])
def test_a_film_goes_there_and_back(name, plain_model, tmp_path, output):
    path = tmp_path / name
    arguments = ["--labels", "cat", "1", "--rows", "2", "-o", tmp_path / "sheet.png", "--animation", path]
    out = output("interpolate", plain_model, *arguments, "--seconds", "0.3").out
    assert out.splitlines()[-1] == str(path)
    if name.endswith("gif"):
        with Image.open(path) as film:
            number, duration = film.n_frames, film.info["duration"]
        assert duration == 50
    else:
        with av.open(str(path)) as film:
            number = sum(1 for _ in film.decode(video=0))
    assert number == 12  # 7 there, at 20 a second with both ends; 5 back, without them


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--labels", "33", "3"], "there is no class 33: the model's classes are 0 to 9"),
        (["--labels", "3"], "--labels needs 2 values"),
        ([], "--labels is required"),
        (["--labels", "3", "7", "--frames", "1"], "--frames: must be >= 2"),
        (["--labels", "3", "7", "--entity", "4"], "there is no entity 4: the model's entities are 0 to 3"),
        (["--labels", "3", "7", "--entity", "-1"], "there is no entity -1"),
        (["--labels", "3", "7", "--animation", "film.avi"], "must end in .gif or .mp4"),
        (["--labels", "3", "7", "--animation", "film.gif", "--seconds", "0"], "--seconds: must be >= 0.1"),
    ],
)
def test_it_refuses_what_it_cannot_do(arguments, part, finished_run, refused):
    assert part in refused("interpolate", finished_run, "-o", "sheet.png", *arguments)


@pytest.mark.parametrize("name", ["sheet.png", "film.gif"])
def test_nothing_is_overwritten_without_force(name, plain_model, refused, tmp_path, output):
    (tmp_path / name).write_text("mine")
    arguments = ["interpolate", plain_model, "--labels", "cat", "dog", "--rows", "1", "--seconds", "0.1"]
    files = ["-o", tmp_path / "sheet.png", "--animation", tmp_path / "film.gif"]
    assert f"{name} exists already: give --force" in refused(*arguments, *files)
    output(*arguments, *files, "--force")
    Image.open(tmp_path / name).verify()
