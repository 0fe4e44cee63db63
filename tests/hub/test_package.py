"""A run becomes a folder that others can load, with a card that says what the run's records say."""

import json
import math
import shlex
import shutil

import numpy as np
import pytest
from huggingface_hub import ModelCard

from attnorm.cli import main
from attnorm.config import derive, parse_overrides, to_yaml
from attnorm.errors import UserError
from attnorm.hub import PackageOptions
from attnorm.hub.card import training_command
from attnorm.hub.package import package
from attnorm.models.pretrained import write_step
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.pipelines.inpainting import InpaintingPipeline
from attnorm.presets import get_preset, presets
from attnorm.training.loop import read_config
from tests.runs import write_record

FD = "fd-efficientnet-lite0-90"
FILES = {"README.md", "config.json", "model.safetensors", "training.json", "samples.png", "layouts.png"}
OWN = PackageOptions(
    data_id="me/cats", data_about="My cats.", data_licence="CC0", data_url="https://example.org/cats", licence="cc0-1.0"
)


def test_a_packaged_generator_loads_and_generates_the_runs_images(run_copy, tmp_path, capsys):
    (run_copy / "model" / "notes.txt").write_text("private")
    assert main(["package", str(run_copy), str(tmp_path / "mine")]) == 0
    assert f"not evaluated: run attnorm evaluate {run_copy}" in capsys.readouterr().out
    assert "## Metrics\n\nNot measured." in ModelCard.load(tmp_path / "mine" / "README.md").text
    from_run, from_folder = (ClassConditionalPipeline.from_pretrained(p) for p in (run_copy, tmp_path / "mine"))
    assert np.array_equal(from_run.draw(num_images=4).images, from_folder.draw(num_images=4).images)
    readable = {path.name for path in (tmp_path / "mine").iterdir() if path.stat().st_mode & 0o044 == 0o044}
    assert readable == FILES == {path.name for path in (tmp_path / "mine").iterdir()}


def test_the_card_has_the_runs_records(run_copy, tmp_path):
    metrics = run_copy / "metrics"
    write_record(metrics / "a.json", {FD: 12.5, "intra-fd-x-90": math.nan, "pr-x": {"precision": 0.5, "recall": 0.25}})
    write_record(metrics / "b.json", {FD: 99.5}, step=4)  # of other weights
    write_record(metrics / "c.json", {FD: 88.5}, weights="raw")
    rates = [(2, 0.001), (6, 0.002), (8, 1e-9)]  # the last is after these weights
    lines = [json.dumps({"step": step, "steps_per_second": rate}) + "\n" for step, rate in rates]
    (run_copy / "log.jsonl").write_text("".join(lines))
    package(run_copy, tmp_path / "mine", PackageOptions(name="me/mine"))
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert (card.data.license, card.data.datasets, card.data.model_name) == ("mit", ["digits"], "me/mine")
    values = [(one.metric_type, one.metric_name, one.metric_value) for one in card.data.eval_results]
    assert values == [("fd", FD, 12.5), ("pr", "pr-x precision", 0.5), ("pr", "pr-x recall", 0.25)]
    assert {"num_real": 40, "seed": 7}.items() <= card.data.eval_results[0].metric_args.items()
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
    assert not any(text in card.content for text in ("99.5", "88.5", str(run_copy)))
    assert "\n\n\n" not in card.text and "{" not in card.text.replace("${", "")


def test_the_best_model_is_preferred_and_another_can_be_named(run_copy, tmp_path):
    shutil.copytree(run_copy / "model", run_copy / "best")
    write_step(run_copy / "best", 4)
    assert package(run_copy, tmp_path / "best").step == 4
    card = (tmp_path / "best" / "README.md").read_text()
    assert "4 of 6 steps" in card and "at the step with the best validation metric" in card
    assert package(run_copy / "model", tmp_path / "last").step == 6
    assert "best" not in (tmp_path / "last" / "README.md").read_text()


def test_an_inpainters_card_shows_its_evaluation(finished_inpainting_run, tmp_path):
    run = shutil.copytree(finished_inpainting_run, tmp_path / "run")
    assert main(["evaluate", str(run / "best"), "--num", "3"]) == 0
    package(run, tmp_path / "inpaint")
    assert {path.name for path in (tmp_path / "inpaint").iterdir()} == FILES - {"layouts.png"}
    InpaintingPipeline.from_pretrained(tmp_path / "inpaint")
    [sheet] = (run / "metrics").glob("*.png")
    assert (tmp_path / "inpaint" / "samples.png").read_bytes() == sheet.read_bytes()
    card = ModelCard.load(tmp_path / "inpaint" / "README.md")
    assert card.data.pipeline_tag == "image-to-image"
    assert {result.metric_type for result in card.data.eval_results} == {"psnr", "ssim", "mae", "mask_mae", "l1"}
    for part in (
        "A two-stage generator for image inpainting, trained at 32×32 pixels, 4 channels wide, with attentive",
        "attnorm inpaint inpaint photo.png mask.png",
        "| strokes/refined ",
        'masks of kind "mixed" that cover 2 to 30 % of the image',
    ):
        assert part in card.text


def test_your_own_data_must_be_described(run_copy, tmp_path):
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

    (tmp_path / "mine").mkdir()
    refused("exists already", run_copy, "mine")
    refused("neither a run nor a model in one", shutil.copytree(run_copy / "model", tmp_path / "copy" / "model"), "x")
    (run_copy / "model" / "training.json").unlink()
    refused("does not record its training step", run_copy, "x")
    shutil.rmtree(run_copy / "model")
    refused("written with the first checkpoint", run_copy, "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        (
            "an-gan-digits",
            {"steps": 77, "generator.channels": (8, 8, 8, 8), "lr_schedule": "cosine", "augment": ("translation",)},
        ),
        ("inpaint-ca-256", {}),
        ("an-gan-cifar10", {"generator.long_range.entity_std": 0.02, "horizontal_flip": False, "generator_lr": 1e-5}),
        ("inpaint-an-64-cpu", {"masks.kind": "strokes", "phases.at_step": 7, "betas": (0.5, 0.99), "crop_from": 99}),
    ],
)
def test_the_command_trains_the_same(preset, changes):
    config = derive(presets()[preset], {**changes, "data": "digits"})
    if hasattr(config, "for_classes"):
        config = config.for_classes(tuple("0123456789"))
    words = shlex.split(training_command(config))
    assert (len(words) > 7) == bool(changes)
    assert words[:7] == ["attnorm", "train", preset, "--data", "digits", "--out", "RUN"]
    again = derive(get_preset(preset), {**parse_overrides(words[7:], get_preset(preset)), "data": "digits"})
    assert (again.for_classes(tuple("0123456789")) if hasattr(again, "for_classes") else again) == config
