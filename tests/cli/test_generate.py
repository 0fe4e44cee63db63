"""`attnorm generate`, and which weights every command takes."""

import numpy as np
import pytest
from PIL import Image

from attnorm import ClassConditionalPipeline
from attnorm.cli import generate
from attnorm.models.pretrained import step_of


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--labels", "33"], "there is no class '33', did you mean '3'?"),
        (["--device", "banana"], "PyTorch cannot use the device 'banana' here"),
        (["--cuont", "3"], "unknown option: --cuont, did you mean --count?"),
        (["--count", "5", "--per-class", "2"], "give either --count"),
        (["-o", "out.xyz"], "must end in an image format such as .png"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments, part, finished_run, refused):
    assert part in refused("generate", finished_run, "-o", "out.png", *arguments)


def test_a_grid_has_a_class_a_row_and_is_overwritten_with_force_only(finished_run, tmp_path, output, refused):
    path = tmp_path / "new" / "grid.png"
    arguments = ["generate", finished_run, "--labels", "3", "7", "--per-class", "5", "-o", path]
    assert output(*arguments).out == f"{path}\n"
    assert "give --force to overwrite it" in refused(*arguments)
    assert output(*arguments, "--force").out == f"{path}\n"
    grid = Image.open(path)
    assert grid.height == 2 * 64 + 2
    assert grid.width > 5 * 64 + 4 * 2  # and the margin with the names


def test_the_images_are_those_of_the_pipeline_and_count_is_the_total(finished_run, tmp_path, output, monkeypatch):
    monkeypatch.setattr(generate, "PIECE", 2)
    arguments = ["--labels", "3", "7", "--count", "6", "--seed", "9", "--truncation", "0.5"]
    out = output("generate", finished_run, *arguments, "-o", tmp_path / "images").out
    assert out == f"6 images in {tmp_path / 'images'}\n"
    drawn = ClassConditionalPipeline.from_pretrained(finished_run).draw(["3", "7"], 6, 9, truncation=0.5)
    found = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "images").iterdir())]
    assert np.abs(np.stack(found) - drawn.images.astype(int)).max() <= 1  # the batches differ
    output("generate", finished_run, *arguments, "-o", tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").size == (3 * 66 - 2, 2 * 66 - 2)


def test_force_replaces_the_images_of_an_earlier_call_and_nothing_else(finished_run, tmp_path, output, refused):
    out = tmp_path / "images"
    out.mkdir()
    output("generate", finished_run, "--labels", "3", "7", "--per-class", "2", "-o", out)  # into an empty folder
    names = ["00000-3.png", "00001-3.png", "00002-7.png", "00003-7.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    for mine in ("mine.txt", "00000-3.jpg", "7-3.png", "20210704-beach.png"):
        (out / mine).write_text("x")
    assert "exists already" in refused("generate", finished_run, "-o", out)
    output("generate", finished_run, "--labels", "7", "--count", "1", "--force", "-o", out)
    kept = ["00000-3.jpg", "00000-7.png", "20210704-beach.png", "7-3.png", "mine.txt"]
    assert sorted(path.name for path in out.iterdir()) == kept


def test_weights_of_a_checkpoint_and_without_averaging(finished_run, tmp_path, output, refused):
    def drawn(model, *options):
        output("generate", model, "--per-class", 1, *options, "-o", tmp_path / "grid.png", "--force")
        return (tmp_path / "grid.png").read_bytes()

    first, last = (finished_run / "checkpoints" / f"step-{step}" for step in (4, 6))
    assert drawn(last) == drawn(finished_run) == drawn(finished_run, "--weights", "ema")
    assert drawn(last, "--weights", "raw") == drawn(finished_run, "--weights", "raw")
    assert len({drawn(model, "--weights", kind) for model in (first, last) for kind in ("ema", "raw")}) == 4
    from_first, from_last, from_run = map(ClassConditionalPipeline.from_pretrained, (first, last, finished_run))
    assert np.array_equal(from_last.draw().images, from_run.draw().images) and step_of(first) == 4
    assert not np.array_equal(from_first.draw().images, from_run.draw().images)
    assert f"did you mean '{last}'?" in refused("generate", last.with_name("step-5"), "-o", "g.png")
    assert "has no raw weights" in refused("generate", finished_run / "model", "--weights", "raw", "-o", "g.png")
    assert "an-gan-digits is not a run" in refused("generate", "an-gan-digits", "--weights", "raw", "-o", "g.png")


def test_every_command_takes_a_checkpoint_and_raw_weights(finished_run, tmp_path, output):
    model = (finished_run / "checkpoints" / "step-4", "--weights", "raw")
    output("interpolate", *model, "--labels", "3", 7, "-o", tmp_path / "sheet.png", "--device", "cpu")
    output("visualize", *model, "-o", tmp_path / "layouts.png", "--count", 1)
    output("export", *model, "-o", tmp_path / "model.pt2")
    output("evaluate", *model, "--metrics", "kid", "--num", 8, "-o", tmp_path / "record.json")
    assert '"step": 4' in (tmp_path / "record.json").read_text()
