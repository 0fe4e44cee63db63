"""A run becomes a folder that others can load, with a card that says what the run's records say."""

import json
import math
import shlex
import shutil

import numpy as np
import pytest
from huggingface_hub import ModelCard

from attnorm.cli import main
from attnorm.config import derive, to_yaml
from attnorm.errors import UserError
from attnorm.hub import PackageOptions, package
from attnorm.models.pretrained import write_step
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.pipelines.inpainting import InpaintingPipeline
from attnorm.training.loop import read_config

FILES = {"README.md", "config.json", "model.safetensors", "training.json", "samples.png", "layouts.png"}
OWN = PackageOptions(
    data_id="me/cats", data_about="My cats.", data_licence="CC0", data_url="https://example.org/cats", licence="cc0-1.0"
)


def test_a_packaged_generator_loads_and_generates_the_runs_images(run_copy, tmp_path):
    (run_copy / "model" / "notes.txt").write_text("private")
    package(run_copy, tmp_path / "mine")
    from_run, from_folder = (ClassConditionalPipeline.from_pretrained(p) for p in (run_copy, tmp_path / "mine"))
    assert np.array_equal(from_run.draw(num_images=4).images, from_folder.draw(num_images=4).images)
    readable = {path.name for path in (tmp_path / "mine").iterdir() if path.stat().st_mode & 0o044 == 0o044}
    assert readable == FILES == {path.name for path in (tmp_path / "mine").iterdir()}


def test_the_advice_for_a_run_that_was_not_measured_can_be_followed(run_copy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    packaging = ["package", str(run_copy), "mine"]
    assert main(packaging) == 0
    assert "## Metrics\n\nNot measured." in ModelCard.load("mine/README.md").text
    advice = capsys.readouterr().out.splitlines()[-1]
    evaluating = shlex.split(advice.partition("run attnorm ")[2].partition(", remove mine, then package again")[0])
    assert main([*evaluating, "--num", "12", "--metrics", "kid"]) == 0
    shutil.rmtree("mine")
    capsys.readouterr()
    assert main(packaging) == 0
    assert "not measured" not in capsys.readouterr().out
    assert ModelCard.load("mine/README.md").data.eval_results


def test_the_card_has_the_runs_records(run_copy, tmp_path, write_record):
    fd, metrics = "fd-efficientnet-lite0-90", run_copy / "metrics"
    write_record(metrics / "a.json", {fd: 12.5, "intra-fd-x-90": math.nan})
    write_record(metrics / "b.json", {fd: 99.5}, step=4)  # of other weights
    write_record(metrics / "c.json", {fd: 88.5}, weights="raw")
    rates = [(2, 0.001), (6, 0.002), (8, 1e-9)]  # the last is after these weights
    lines = [json.dumps({"step": step, "steps_per_second": rate}) + "\n" for step, rate in rates]
    (run_copy / "log.jsonl").write_text("".join(lines))
    package(run_copy, tmp_path / "mine", PackageOptions(name="me/mine"))
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert (card.data.license, card.data.datasets, card.data.model_name) == ("mit", ["digits"], "me/mine")
    [result] = card.data.eval_results  # the Hub takes no metric that is not finite
    assert (result.metric_type, result.metric_name, result.metric_value) == ("fd", fd, 12.5)
    assert result.metric_args["num_real"] == 100 and result.metric_args["seed"] == 7
    assert "99.5" not in card.content and "88.5" not in card.content
    for part in (
        "# me/mine\n",
        "A generator of 32×32 images in 10 classes, with attentive normalization; ",
        'from_pretrained("me/mine")',
        "attnorm train an-gan-digits --data digits --out RUN --steps 6 ",
        "6 of 6 steps in 1.11 hours, batch size 4, float32, seed 0. The weights are averaged over training (EMA).",
        "| fd-efficientnet-lite0-90 ↓ | 12.5 ",
        "| intra-fd-x-90 ↓            | nan ",
        "License of the images: CC BY 4.0.",
    ):
        assert part in card.text
    assert str(run_copy) not in card.content
    assert "\n\n\n" not in card.text and "{" not in card.text.replace("${", "")


def test_the_best_model_is_preferred_and_another_can_be_named(run_copy, tmp_path):
    shutil.copytree(run_copy / "model", run_copy / "best")
    write_step(run_copy / "best", 4)
    assert package(run_copy, tmp_path / "best").step == 4
    card = (tmp_path / "best" / "README.md").read_text()
    assert "4 of 6 steps" in card and "at the step with the best validation metric" in card
    assert package(run_copy / "model", tmp_path / "last").step == 6
    assert "best" not in (tmp_path / "last" / "README.md").read_text()


def test_an_inpainters_card_shows_its_evaluation(measured_inpainting_run, tmp_path):
    package(measured_inpainting_run, tmp_path / "inpaint")
    assert {path.name for path in (tmp_path / "inpaint").iterdir()} == FILES - {"layouts.png"}
    InpaintingPipeline.from_pretrained(tmp_path / "inpaint")
    [sheet] = (measured_inpainting_run / "metrics").glob("*.png")
    assert (tmp_path / "inpaint" / "samples.png").read_bytes() == sheet.read_bytes()
    card = ModelCard.load(tmp_path / "inpaint" / "README.md")
    assert card.data.pipeline_tag == "image-to-image"
    assert {result.metric_type for result in card.data.eval_results} == {"psnr", "ssim", "mae", "mask_mae", "l1"}
    for part in (
        "A two-stage generator for image inpainting, trained at 32×32 pixels, 4 channels wide, with attentive",
        "attnorm inpaint inpaint photo.png mask.png",
        "| strokes/refined ",
        "32 pixels a side",
        'masks of kind "mixed" that cover 2 to 30 % of the image',
    ):
        assert part in card.text


def test_your_own_data_must_be_described(run_copy, tmp_path, write_record):
    (run_copy / "config.yaml").write_text(to_yaml(derive(read_config(run_copy), {"data": "/home/me/cats"})))
    with pytest.raises(UserError, match="give --data-id, --data-about and --data-licence"):
        package(run_copy, tmp_path / "mine")
    for name in ("cats", "dogs"):
        write_record(run_copy / "metrics" / f"{name}.json", {"fd": 1.0}, data=f"/home/me/{name}", split=f"{name}-test")
    package(run_copy, tmp_path / "mine", OWN)
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert "My cats ([source](https://example.org/cats)). License of the images: CC0." in card.text
    assert card.data.datasets == ["me/cats"] and card.data.license == "cc0-1.0"
    assert [result.dataset_name for result in card.data.eval_results] == ["me/cats", "dogs-test"]
    assert "--data DATA --out RUN" in card.text and "/home/me" not in card.content


def test_what_cannot_be_packaged_is_refused(run_copy, tmp_path):
    def refused(match, run, out):
        with pytest.raises(UserError, match=match):
            package(run, tmp_path / out)

    refused("no run or model at", tmp_path / "none", "x")
    (tmp_path / "file").write_text("")
    refused("cannot write", run_copy, "file/x")
    (tmp_path / "mine").mkdir()
    refused("exists already", run_copy, "mine")
    refused(r"config\.yaml", shutil.copytree(run_copy / "model", tmp_path / "copy" / "model"), "x")
    (run_copy / "model" / "training.json").unlink()
    refused("does not say which step", run_copy, "x")
    shutil.rmtree(run_copy / "model")
    refused("written with the first checkpoint", run_copy, "x")
    assert not (tmp_path / "x").exists()
