"""`attnorm evaluate` of small runs of both tasks: table, record, sheet, and everything that it refuses."""

import json
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm.cli import evaluate as options
from attnorm.cli import evaluation
from attnorm.data.builtin import load_builtin
from attnorm.data.masks import Masks
from attnorm.errors import UserError
from attnorm.metrics.fid import METRICS
from attnorm.metrics.inpainting import MASKS, mean_colour, reconstruction
from attnorm.metrics.records import read_records
from attnorm.models.class_conditional import Generator
from tests.runs import exit_codes, main, two_ranks

NAME = "step-0000006-ema-digits-kid-efficientnet-lite0-n12-seed0"
KID = ("--num", "12", "--metrics", "kid")  # the quickest


@pytest.fixture
def evaluate(tmp_path, monkeypatch, output):
    """Evaluates in the test's own folder; returns what it prints."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: output("evaluate", *arguments).out


@pytest.fixture
def inpainting_run(finished_inpainting_run, tmp_path):
    return shutil.copytree(finished_inpainting_run, tmp_path / "runs" / "run")


def noise_images(folder, names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (50, 70, 3), np.uint8)
        Image.fromarray(noise).save(folder / name)
    return folder


def test_a_run_is_measured_against_its_own_data(run_copy, evaluate, output):
    out = evaluate(run_copy, *KID)
    record = run_copy / "metrics" / f"{NAME}.json"
    (result,) = read_records(record)
    row = f"| kd-efficientnet-lite0-12 ↓ | {result.values['mean']:.4g} | 12          |"
    assert row in out.splitlines()
    assert out.splitlines()[-1] == f"{record} and {NAME}.png, a sheet of images"
    protocol = result.protocol
    assert (protocol.model, protocol.data, protocol.split) == (str(run_copy), "digits", "digits")
    assert (protocol.weights, protocol.step, protocol.seed) == ("ema", 6, 0)
    assert protocol.settings["frequencies"] == "data"
    output("generate", run_copy, "--per-class", 8, "-o", run_copy / "grid.png")
    with Image.open(run_copy / "grid.png") as grid, Image.open(run_copy / "metrics" / f"{NAME}.png") as sheet:
        assert np.array_equal(grid, sheet)


def test_a_metric_has_the_values_of_chosen_classes(run_copy, evaluate, tmp_path):
    images = noise_images(tmp_path / "images", [f"{name}/{i}.png" for name in range(10) for i in range(3)])
    options = ["--metrics", "intra", "--per-class", 4, "--classes", 3, 7, "--out", "r.json"]
    evaluate(run_copy, "--data", images, *options)
    [result] = read_records(tmp_path / "r.json")
    assert (list(result.details["by_class"]), result.details["per_class"]) == (["3", "7"], 4)


def test_an_existing_record_or_sheet_is_overwritten_with_force_only(run_copy, evaluate, refused):
    (run_copy / "metrics").mkdir()
    sheet = run_copy / "metrics" / f"{NAME}.png"
    sheet.write_text("mine")
    assert "exists already: give --force to overwrite it" in refused("evaluate", run_copy, *KID)
    evaluate(run_copy, *KID, "--force")
    assert f"{NAME}.json exists already" in refused("evaluate", run_copy, *KID)


def test_statistics_stand_for_the_images_that_they_were_made_from(run_copy, output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = ["--num", 20, "--metrics", "fd", "kid", "--frequencies", "uniform"]
    first = output("evaluate", run_copy, *metrics, "--out", "a.json", "--save-reference", "digits.npz").err
    assert f"warning: {run_copy} was trained on these images" in first
    assert "warning: fd-efficientnet-lite0-20: 20 real images are too few for 1280 features" in first
    second = output("evaluate", run_copy, *metrics, "--out", "b.json", "--reference", "digits.npz").err
    assert "trained" not in second and "does not name" not in second
    images, statistics = (read_records(tmp_path / f"{name}.json") for name in "ab")
    assert [one.metric for one in statistics] == [f"{name}-efficientnet-lite0-20-vs-digits" for name in ("fd", "kd")]
    assert [one.values for one in statistics] == [one.values for one in images]
    protocol = statistics[0].protocol
    assert (protocol.data, protocol.settings["num_real"]) == ("digits.npz", 20)


def test_other_data_can_be_given_and_classes_drawn_alike(run_copy, evaluate, tmp_path):
    images = noise_images(tmp_path / "images", [f"{name}/{i}.png" for name in "xyz" for i in range(5)])
    uniform = ["--frequencies", "uniform", "--num-real", "0", "--out", "r.json"]
    evaluate(run_copy, "--data", images, "--num", "20", "--metrics", "kid", *uniform)
    protocol = read_records(tmp_path / "r.json")[0].protocol
    assert (protocol.num, protocol.settings["num_real"], protocol.settings["frequencies"]) == (20, 15, "uniform")
    assert (protocol.data, protocol.split) == (str(images), "images")


def test_a_saved_model_does_not_know_its_data(run_copy, evaluate, refused, tmp_path):
    model = shutil.copytree(run_copy / "model", tmp_path / "elsewhere" / "model")
    assert "so its data is unknown: give --data" in refused("evaluate", model, "--out", "r.json")
    assert evaluate(model, "--data", "digits", *KID).endswith("--out FILE.json writes a record and a sheet of images\n")
    evaluate(model, "--data", "digits", *KID, "--out", "r.json")
    protocol = read_records(tmp_path / "r.json")[0].protocol
    assert (protocol.weights, protocol.step) == ("unknown", 6)


def test_two_sets_of_images_are_compared(evaluate, refused, tmp_path):
    real = noise_images(tmp_path / "real", [f"{i}.png" for i in range(5)])
    noise_images(tmp_path / "made", [f"{name}/{i}.jpg" for name in "xy" for i in range(3)])
    evaluate(real, "--data", real, "--out", "same.json", "--save-reference", "real.npz")
    evaluate("made", "--data", "real", "--metrics", "kid", "fd", "--out", "images.json")
    evaluate("made", "--reference", "real.npz", "--out", "statistics.json")
    (same,), (_, fd), (again,) = (read_records(Path(f"{name}.json")) for name in ("same", "images", "statistics"))
    assert abs(same.values["distance"]) < 1e-6 < fd.values["distance"] == again.values["distance"]
    assert (fd.protocol.num, fd.protocol.settings["num_real"], fd.protocol.settings["size"]) == (6, 5, 50)
    assert "so its data is unknown: give --data" in refused("evaluate", "made")
    assert "all of them, and no intra" in refused("evaluate", "made", "--data", "made", "--metrics", "intra")
    assert "--masks is for inpainting models, and made is not one" in refused("evaluate", "made", "--masks", "centre")


def test_the_best_folder_and_raw_weights_are_measured_as_parts_of_their_run(run_copy, evaluate):
    generator = Generator.from_pretrained(run_copy / "model")
    earlier = torch.load(run_copy / "checkpoints" / "step-4" / "state.pt", weights_only=True)
    generator.load_state_dict(earlier["task"]["ema"])
    generator.save_pretrained(run_copy / "best")
    (run_copy / "best" / "training.json").write_text('{"step": 4}')
    evaluate(run_copy, *KID)
    evaluate(run_copy / "best", *KID)
    evaluate(run_copy, *KID, "--weights", "raw")
    names = {"ema": NAME, "best": NAME.replace("6", "4", 1), "raw": NAME.replace("ema", "raw")}
    found = {key: read_records(run_copy / "metrics" / f"{name}.json")[0] for key, name in names.items()}
    about = {key: (one.protocol.weights, one.protocol.step, one.protocol.data) for key, one in found.items()}
    assert about == {"ema": ("ema", 6, "digits"), "best": ("ema", 4, "digits"), "raw": ("raw", 6, "digits")}
    assert len({json.dumps(one.values) for one in found.values()}) == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--per-class", "3"], "--per-class and --classes are for intra"),
        (["--out", "record.txt"], "record.txt"),
        (["--size", "32"], "--size is for inpainting models"),
        (["--reference", "gone.npz"], "cannot read gone.npz (No such file or directory): give an .npz file"),
        (["--reference", "r.npz", "--num-real", "9"], "--reference replaces the real images: leave out --data"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(arguments, sentence, run_copy, refused):
    assert sentence in refused("evaluate", run_copy, *arguments)
    assert not (run_copy / "metrics").exists()


@pytest.mark.promise
def test_processes_with_other_weights_are_refused(run_copy, refused, monkeypatch):
    found = []

    def compared(facts, remedy):
        found.append(facts)
        raise UserError(remedy)

    monkeypatch.setattr(evaluation, "check_alike", compared)
    refused("evaluate", run_copy, *KID)
    path = run_copy / "model" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "must be the same on every machine" in refused("evaluate", run_copy, *KID)
    assert {name for name in found[0] if found[0][name] != found[1][name]} == {"the checksum of the weights"}


@pytest.mark.promise
def test_two_processes_write_one_record_of_the_same_numbers(run_copy, evaluate, tmp_path):
    evaluate(run_copy, *KID, "--out", "one.json")
    environments = [rank | {"ATTNORM_CACHE": str(tmp_path / "cache")} for rank in two_ranks()]
    command = ["evaluate", str(run_copy), *KID, "--out", str(tmp_path / "two.json")]
    assert exit_codes(environments, main, command) == [0, 0]
    (one,), (two,) = (read_records(tmp_path / f"{name}.json") for name in ("one", "two"))
    assert two.values == pytest.approx(one.values, rel=1e-6)


def test_held_out_images_are_completed_beside_simpler_methods(inpainting_run, evaluate):
    out = evaluate(inpainting_run, "--num", 6)
    name = "step-0000006-ema-digits-held-out-n6-seed0"
    records = {one.metric: one for one in read_records(inpainting_run / "metrics" / f"{name}.json")}
    assert list(records) == [f"{kind}/{way}" for kind in MASKS for way in ("refined", "coarse", "mean colour", "Telea")]
    protocol = records["centre/refined"].protocol
    assert (protocol.weights, protocol.step, protocol.data, protocol.num) == ("ema", 6, "digits", 6)
    assert (protocol.split, protocol.settings["size"], protocol.settings["short_side"]) == ("digits-held-out", 32, 36)
    shown = records["random/refined"].values
    assert f"| {shown['psnr']:.4g}" in out
    with Image.open(inpainting_run / "metrics" / f"{name}.png") as sheet:
        assert sheet.height > len(MASKS) * 6 * 100


@pytest.mark.promise
def test_the_metrics_of_a_completion_are_those_worked_out_by_hand(inpainting_run, evaluate, tmp_path):
    arguments = ["--num", 6, "--seed", 5, "--masks", "random", "--out", "r.json"]
    evaluate(inpainting_run, *arguments)
    records = {one.metric: one for one in read_records(tmp_path / "r.json")}
    assert list(records) == ["random/refined", "random/coarse", "random/mean colour", "random/Telea"]
    found = records["random/mean colour"]
    original = load_builtin("digits", 36).images[found.details["items"], 2:34, 2:34]
    masks = Masks(MASKS["random"], (32, 32)).batch(5, range(6))
    expected = reconstruction(original, mean_colour(original, masks), masks)
    for name, values in expected._asdict().items():
        assert found.details["per_image"][name] == pytest.approx(values.tolist())
        assert found.values[name] == pytest.approx(values.mean())


def test_an_inpainters_own_images_are_held_out_however_they_are_named(inpainting_run, evaluate, tmp_path):
    noise_images(tmp_path / "images", [f"{number}.png" for number in range(12)])
    config = (inpainting_run / "config.yaml").read_text()
    (inpainting_run / "config.yaml").write_text(config.replace("data: digits", "data: images", 1))
    for number, name in enumerate(("./images", tmp_path / "images")):
        evaluate(inpainting_run, "--data", name, "--out", f"{number}.json")
        protocol = read_records(tmp_path / f"{number}.json")[0].protocol
        assert protocol.num == 1  # a tenth of 12, and none that the network was trained on
        assert protocol.split.endswith("-held-out")


def test_of_an_inpainter_what_cannot_be_measured_is_refused(inpainting_run, refused):
    run = inpainting_run
    assert "--num-real is for class-conditional models" in refused("evaluate", run, "--num-real", 3)
    assert "must be >= 32" in refused("evaluate", run, "--size", 31)
    assert (set(get_args(options.MetricKey)), set(get_args(options.MaskKind))) == (set(METRICS), set(MASKS))
