"""`attnorm generate`, and what it has in common with `attnorm visualize`."""

import shutil

import numpy as np
import pytest
from PIL import Image

from attnorm import ClassConditionalPipeline


def read(folder):
    return [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("command", ["generate", "visualize"])
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--labels", "33"], "there is no class 33: the model's classes are 0 to 9"),
        (["--count", "0"], 'invalid value "0" for --count: must be >= 1'),
        (["--seed", "-1"], "--seed: must be >= 0"),
        (["--device", "banana"], "PyTorch cannot use the device 'banana' here"),
        (["--cuont", "3"], "unknown option: --cuont, did you mean --count?"),
    ],
)
def test_what_cannot_be_done_is_refused(command, arguments, part, finished_run, refused):
    assert part in refused(command, finished_run, "-o", "out.png", *arguments)


@pytest.mark.parametrize("command", ["generate", "visualize"])
def test_what_is_no_model_is_refused(command, refused, finished_run, tmp_path):
    assert "there is no run or model at nothing" in refused(command, "nothing", "-o", "out.png")
    assert "a saved model" in refused(command, tmp_path, "-o", "out.png")
    assert "must end in an image format such as .png" in refused(command, finished_run, "-o", "out.xyz")
    model = shutil.copytree(finished_run / "model", tmp_path / "model")
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:500])
    assert "model" in refused(command, "model", "-o", "out.png")


def test_a_grid_has_a_class_a_row_and_is_overwritten_with_force_only(finished_run, tmp_path, output, refused):
    path = tmp_path / "new" / "grid.png"
    arguments = ["generate", finished_run, "--labels", "3", "7", "--per-class", "5", "-o", path]
    assert output(*arguments).out == f"{path}\n"
    assert "give --force to overwrite it" in refused(*arguments)
    assert output(*arguments, "--force").out == f"{path}\n"
    grid = Image.open(path)
    assert grid.height == 2 * 64 + 2
    assert grid.width > 5 * 64 + 4 * 2  # and the margin with the names


def test_count_is_the_total_as_in_python(finished_run, tmp_path, output, refused):
    arguments = ["--labels", "3", "7", "--count", "5", "--seed", "9"]
    out = output("generate", finished_run, *arguments, "-o", tmp_path / "images").out
    assert out == f"5 images in {tmp_path / 'images'}\n"
    drawn = ClassConditionalPipeline.from_pretrained(finished_run).draw(["3", "7"], 5, 9)
    assert np.array_equal(np.stack(read(tmp_path / "images")), drawn.images)
    output("generate", finished_run, *arguments, "-o", tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").size == (3 * 66 - 2, 2 * 66 - 2)
    assert "give either --count" in refused("generate", finished_run, *arguments, "--per-class", 2, "-o", "g.png")


def test_a_folder_has_a_file_an_image_with_number_and_class(finished_run, tmp_path, output):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        arguments = ["--labels", "3", "7", "--per-class", "2", "--seed", seed, "-o", tmp_path / name]
        output("generate", finished_run, *arguments)
    names = ["00000-3.png", "00001-3.png", "00002-7.png", "00003-7.png"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    a, b, c = ((tmp_path / name / names[0]).read_bytes() for name in "abc")
    assert a == b != c
    drawn = ClassConditionalPipeline.from_pretrained(finished_run).draw(["3", "3", "7", "7"], seed=1)
    assert np.array_equal(np.stack(read(tmp_path / "a")), drawn.images)


def test_force_replaces_the_images_of_an_earlier_call_and_nothing_else(finished_run, tmp_path, output, refused):
    out = tmp_path / "images"
    out.mkdir()
    output("generate", finished_run, "--labels", "3", "7", "--per-class", "2", "-o", out)  # into an empty folder
    for mine in ("mine.txt", "00000-3.jpg", "7-3.png"):
        (out / mine).write_text("x")
    assert "exists already" in refused("generate", finished_run, "-o", out)
    output("generate", finished_run, "--labels", "7", "--count", "1", "--force", "-o", out)
    assert sorted(path.name for path in out.iterdir()) == ["00000-3.jpg", "00000-7.png", "7-3.png", "mine.txt"]


def test_weights_of_a_checkpoint_and_without_averaging(finished_run, tmp_path, output, refused):
    def drawn(model, *options):
        output("generate", model, "--per-class", 1, *options, "-o", tmp_path / "grid.png", "--force")
        return (tmp_path / "grid.png").read_bytes()

    first, last = (finished_run / "checkpoints" / f"step-{step}" for step in (4, 6))
    assert drawn(last) == drawn(finished_run) == drawn(finished_run, "--weights", "ema")
    assert drawn(last, "--weights", "raw") == drawn(finished_run, "--weights", "raw")
    assert len({drawn(model, "--weights", kind) for model in (first, last) for kind in ("ema", "raw")}) == 4
    message = refused("generate", finished_run / "checkpoints" / "step-5", "-o", "g.png")
    assert message.endswith("step-5: the newest one is step-6")
    assert "has no raw weights" in refused("generate", finished_run / "model", "--weights", "raw", "-o", "g.png")
    assert "and an-gan-digits is none" in refused("generate", "an-gan-digits", "--weights", "raw", "-o", "g.png")


@pytest.mark.parametrize("weights", [(), ("--weights", "raw")])
def test_every_command_takes_a_checkpoint(weights, finished_run, tmp_path, output):
    model = finished_run / "checkpoints" / "step-4"
    output("interpolate", model, *weights, "--labels", "3", 7, "-o", tmp_path / "sheet.png", "--device", "cpu")
    output("visualize", model, *weights, "-o", tmp_path / "layouts.png", "--count", 1)
    output("export", model, *weights, "-o", tmp_path / "model.pt2")
    output("evaluate", model, *weights, "--metrics", "kid", "--num", 8, "-o", tmp_path / "record.json")
    assert '"step": 4' in (tmp_path / "record.json").read_text()


def test_truncation_gives_less_varied_images(finished_run, tmp_path, output):
    for name, limit in (("whole", ()), ("cut", ("--truncation", "0.01"))):
        output("generate", finished_run, "--labels", "3", "--count", 4, *limit, "-o", tmp_path / name)
    whole, cut = (np.stack(read(tmp_path / name)).astype(float).std(0).mean() for name in ("whole", "cut"))
    assert cut < whole / 4
