"""A run becomes a folder that others can load, and its card says what the run's own records say."""

import errno
import json
import math
import os
import resource
import shlex
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from attnorm.training.journal import Journal
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file

from attnorm.cli import main
from attnorm.config import to_yaml
from attnorm.errors import UserError
from attnorm.inpainting_pipeline import InpaintingPipeline
from attnorm.metrics.result import Protocol, Result, write_results
from attnorm.models.class_conditional import Generator, LongRangeConfig
from attnorm.models.saved import write_step
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.publishing.card import Card, Storage
from attnorm.publishing.data_sheet import BUILTIN_SHEETS
from attnorm.publishing.measurements import measurements
from attnorm.publishing.package import Wishes, package
from attnorm.publishing.run_facts import read_run
from attnorm.training import checkpoint
from attnorm.training.loop import read_config

OWN = {"data_id": "me/cats", "data_about": "My cats", "data_licence": "CC0", "data_url": "https://example.org/cats"}


def refusal(*arguments):
    with pytest.raises(UserError) as caught:
        package(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def record(model, step, value=12.5, data="digits", split="digits"):
    protocol = Protocol(str(model), "ema", step, data, split, 100, 90, "data", 7)
    return Result(
        "fd-efficientnet-lite0-90", {"distance": value}, "lower", {}, "efficientnet-lite0", "abc", "bilinear", protocol
    )


def with_evaluations(run, figures, score):
    """Gives a run evaluations at steps, a best model and the score that its checkpoint remembers."""
    lines = [json.dumps({"step": step, "time": 0.0, **line}) for step, line in figures.items()]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n" + '{"step": 9, "fd')  # a crash tore the last one
    state, _ = checkpoint.newest(run / "checkpoints")
    checkpoint.save(run / "checkpoints", state["step"], {**state, "best": score}, 2)
    shutil.copytree(run / "model", run / "best")
    (run / "best/training.json").unlink()  # as of an earlier version, whose step is found by the score
    weights = run / "best" / "model.safetensors"
    from safetensors.torch import save_file

    save_file({name: value * 0.5 for name, value in load_file(weights).items()}, weights)
    return run


def test_a_generators_folder_loads_and_draws_what_the_run_draws(finished_run, tmp_path):
    package(finished_run, tmp_path / "mine", "mine", Wishes())
    from_run, from_folder = (ClassConditionalPipeline.from_pretrained(p) for p in (finished_run, tmp_path / "mine"))
    assert np.array_equal(from_run.draw(num_images=4).pictures, from_folder.draw(num_images=4).pictures)
    assert {p.name for p in (tmp_path / "mine").iterdir()} == {
        *("README.md", "config.json", "model.safetensors", "training.json", "samples.png", "layouts.png")
    }
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in (tmp_path / "mine").iterdir())  # all may read them


def test_what_else_lies_beside_the_weights_is_not_published(run_copy, tmp_path):
    (run_copy / "model" / "notes.txt").write_text("for myself alone")
    (run_copy / "model" / ".secret").write_text("for myself alone")
    card = package(run_copy, tmp_path / "mine", "mine", Wishes())
    assert {p.name for p in (tmp_path / "mine").iterdir()} == {
        *("README.md", "config.json", "model.safetensors", "training.json", "samples.png", "layouts.png")
    }
    assert "attnorm package" in (run_copy / "model" / "README.md").read_text()  # the note of the run's own folder
    written = (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")
    assert written == str(card) and "## Training" in written and "attnorm package" not in written


def test_the_advice_for_an_unmeasured_run_can_be_followed(run_copy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    packaging = ["package", str(run_copy), "mine"]
    assert main(packaging) == 0
    advice = capsys.readouterr().out.splitlines()[-1]
    assert advice.startswith("nothing has measured these weights: run attnorm evaluate ")
    evaluating = shlex.split(advice.partition("run attnorm ")[2].partition(", remove mine, then package again")[0])
    assert main([*evaluating, "--num", "12", "--metrics", "kid"]) == 0
    shutil.rmtree("mine")
    capsys.readouterr()
    assert main(packaging) == 0
    assert "nothing has measured" not in capsys.readouterr().out
    assert ModelCard.load("mine/README.md").data.eval_results


def test_the_card_has_the_runs_records_and_tags(run_copy, tmp_path):
    write_results([record(run_copy, 6)], run_copy / "metrics" / "a.json")
    write_results([record(run_copy, 4, 99.5)], run_copy / "metrics" / "b.json")  # of other weights
    raw = record(run_copy, 6, 88.5)
    write_results([replace(raw, protocol=replace(raw.protocol, weights="raw"))], run_copy / "metrics" / "c.json")
    package(run_copy, tmp_path / "mine", "me/mine", Wishes(licence="cc0-1.0", limits=["Small."]))
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    config = read_config(run_copy)
    assert card.data.license == "cc0-1.0"
    assert card.data.datasets == ["digits"]
    assert card.data.model_name == "me/mine"
    [result] = card.data.eval_results
    assert (result.metric_type, result.metric_name, result.metric_value) == ("fd", "fd-efficientnet-lite0-90", 12.5)
    assert result.metric_args["num_real"] == 100 and result.metric_args["extractor"] == "efficientnet-lite0"
    assert "99.5" not in card.content and "88.5" not in card.content
    text = card.text
    assert f"attnorm train an-gan-digits --data digits --out RUN --steps {config.steps}" in text
    assert "1797 pictures, seed 0, batch 4, float32." in text
    assert "after step 6." in text
    assert "sharpness 0." in text and "of 4 entities" in text
    assert "is no FID" in text
    assert "CC BY 4.0" in text
    assert "- Small." in text
    assert 'from_pretrained("me/mine")' in text
    assert str(run_copy) not in card.content


def test_figures_with_other_pictures_are_not_the_training_sets(run_copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = read_config(run_copy)
    (run_copy / "config.yaml").write_text(to_yaml(type(config)(**{**vars(config), "data": str(tmp_path / "cats")})))
    for name, data, split in (("a", "cats", "cats-again"), ("b", "/elsewhere/dogs", "dogs-test"), ("c", "digits", "d")):
        write_results([record(run_copy, 6, data=data, split=split)], run_copy / "metrics" / f"{name}.json")
    package(run_copy, tmp_path / "mine", "mine", Wishes(**OWN))
    results = ModelCard.load(tmp_path / "mine" / "README.md").data.eval_results
    assert [result.dataset_name for result in results] == ["me/cats", "dogs-test", "d"]
    assert [result.dataset_type for result in results] == ["me/cats", "dogs-test", "d"]


def test_a_strange_file_among_the_records_is_left_out_with_a_sentence(run_copy, tmp_path, capsys):
    write_results([record(run_copy, 6)], run_copy / "metrics" / "a.json")
    strange = run_copy / "metrics" / "notes.json"
    good = json.loads((run_copy / "metrics" / "a.json").read_text())[0]
    changed = [
        json.dumps([{**good, **change}])
        for change in (
            {"metric": None},
            {"details": []},
            {"values": "high"},
            {"protocol": {**good["protocol"], "data": None}},
            {"protocol": {**good["protocol"], "data": "a\0b"}},
        )
    ]
    way = {"psnr": {"mean": 20.0, "deviation": 1.0}}
    protocol = {"model": "r", "weights": "ema", "step": 6, "data": "d", "split": "d", "num": 12, "size": 32}
    protocol |= {"holes": {}, "seed": 0, "window": "gaussian"}
    incomplete = [
        json.dumps({"figures": {"centre": ways}, "protocol": protocol, "date": "", "versions": {}})
        for ways in ({"refined": way}, {"coarse": dict.fromkeys(("psnr", "ssim", "mae", "hole_mae"), way["psnr"])})
    ]
    strange_ones = ('{"mine": 1}', "[]", "no JSON", '[{"protocol": 3}]', "[" * 10**5, f"[1{'0' * 400}]")
    for number, content in enumerate((*strange_ones, *changed, *incomplete)):
        strange.write_text(content)
        card = package(run_copy, tmp_path / str(number), "mine", Wishes())
        assert len(card.measured) == 1
        assert f"left out of the card: {strange} holds no" in capsys.readouterr().err
    assert "holds no" in refusal(run_copy, tmp_path / "x", "x", Wishes(results=[strange]))


def test_a_plain_generator_is_named_by_its_spectral_norms(run_copy, tmp_path):
    config = read_config(run_copy)
    facts = read_run(run_copy)
    for spectral, system in ((True, "SN-GAN*'s generator"), (False, "SN-GAN's generator")):
        generator = config.generator.model_copy(
            update={"long_range": LongRangeConfig(kind="none"), "spectral_norm": spectral}
        )
        changed = replace(facts, config=config.model_copy(update={"generator": generator}))
        card = Card("x", changed, BUILTIN_SHEETS["digits"], [], Storage(1, "float32", None), [])
        assert f"10 classes: {system};" in str(card)


def test_without_records_the_card_says_so(finished_run, tmp_path):
    card = package(finished_run, tmp_path / "mine", "mine", Wishes())
    assert "## Figures\n\nNot measured." in str(card)
    assert "model-index" not in str(card)


@pytest.mark.parametrize(("lowest", "score"), [("lower", 20.0), ("higher", -30.0)])
def test_the_best_weights_are_those_of_the_best_score(run_copy, tmp_path, lowest, score):
    evaluations = {2: {"fd-efficientnet-lite0-90": 30.0, "kid": 0.5}, 4: {"fd-efficientnet-lite0-90": 20.0, "kid": 0.4}}
    with_evaluations(run_copy, evaluations, score)
    card = package(run_copy, tmp_path / "mine", "mine", Wishes())
    step = 4 if lowest == "lower" else 2
    assert card.facts.step == step
    assert f"after step {step}, the best of those that were measured among 6" in str(card)
    assert f"| fd-efficientnet-lite0-90 | {abs(score):.0f} " in str(card)
    assert "num fake 5000; num real 1797" in str(card)
    stored = load_file(tmp_path / "mine" / "model.safetensors")
    assert torch.equal(stored["stem.bias"], load_file(run_copy / "model" / "model.safetensors")["stem.bias"] * 0.5)
    last = package(run_copy, tmp_path / "last", "last", Wishes(weights="last"))
    assert last.facts.step == 6 and not last.measured


def test_of_a_step_that_was_done_twice_the_later_line_holds(run_copy):
    def write(name, *entries):
        (run_copy / name).write_text("".join(json.dumps(entry) + "\n" for entry in entries))

    layout = "generator.blocks.2.norm2"
    write("metrics.jsonl", {"step": 4, "fd": 9.0}, {"step": 6, "fd": 8.0}, {"step": 6, "time": 1.0, "fd": 7.0})
    write("log.jsonl", *({"step": 4, f"{layout}.sharpness": sharpness} for sharpness in (0.5, 0.25)))
    facts = read_run(run_copy, "last")
    assert (facts.step, facts.evaluation, facts.layout) == (6, {"fd": 7.0}, {"sharpness": 0.25})
    write("metrics.jsonl", {"step": 6, "fd": 8.0}, {"step": 4, "fd": 7.0})  # a resume has not come to step 6 yet
    assert read_run(run_copy, "last").evaluation == {}


def test_a_figure_that_was_not_finite_is_none_of_the_facts(run_copy):
    with_evaluations(run_copy, {2: {"fd": None, "kid": 0.5}, 4: {"fd": 20.0, "kid": None}}, 20.0)
    facts = read_run(run_copy)
    assert (facts.step, facts.evaluation) == (4, {"fd": 20.0})


def test_lines_that_cannot_be_read_are_counted_aloud(run_copy, tmp_path, capsys):
    (run_copy / "metrics.jsonl").write_text('{"step": 6, "fd": 1.0}\n{"step": 6, "kid"\n{"st')  # the last: torn
    log = run_copy / "log.jsonl"
    log.write_text("damaged\n" + log.read_text() + "damaged\n")
    count = len(log.read_text().splitlines())
    sentences = [
        f"{run_copy / 'metrics.jsonl'}: 1 of 3 lines cannot be read and are left out",
        f"{log}: 2 of {count} lines cannot be read and are left out",
    ]
    for command in (["package", str(run_copy), str(tmp_path / "mine")], ["push", str(run_copy), "me/it", "--dry-run"]):
        capsys.readouterr()
        assert main(command) == 0
        assert capsys.readouterr().err.splitlines() == sentences


@pytest.mark.parametrize("name", ["metrics.jsonl", "log.jsonl", "training.json"])
def test_what_may_not_be_read_is_named_with_the_reason(name, run_copy, tmp_path, monkeypatch):
    (run_copy / "metrics.jsonl").write_text('{"step": 6, "fd": 1.0}\n')
    read_bytes = Path.read_bytes

    def forbidden(path):
        if path.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", forbidden)  # the permissions themselves do not bind root
    message = refusal(run_copy, tmp_path / "x", "x", Wishes())
    assert message.startswith(f"cannot read {run_copy}") and message.endswith(f"{name} ({os.strerror(errno.EACCES)})")


def test_last_weights_newer_than_the_checkpoint_are_of_their_own_step(run_copy, tmp_path):
    """As a process leaves them that was killed between the two."""
    shutil.rmtree(run_copy / "checkpoints" / "step-6")
    state, _ = checkpoint.newest(run_copy / "checkpoints")
    assert state["step"] == 4
    write_results([record(run_copy, 6)], run_copy / "metrics" / "a.json")
    write_results([record(run_copy, 4, 99.5)], run_copy / "metrics" / "b.json")
    card = package(run_copy, tmp_path / "mine", "mine", Wishes(weights="last"))
    assert card.facts.step == 6 and "after step 6." in str(card)
    assert [figure.value for measurement in card.measured for figure in measurement.figures] == [12.5]
    (run_copy / "model" / "training.json").unlink()  # as of an earlier version
    assert read_run(run_copy, "last").step == 4


def test_nulls_of_the_journal_leave_the_other_figures_and_the_last_layout(run_copy, tmp_path):
    with Journal(run_copy, start=6, steps=20, batch_size=4, tensorboard=False, speak=True) as journal:
        journal.record(8, {"loss_d": math.nan, "generator.blocks.2.norm2.sharpness": 0.75})
        journal.record(10, {"loss_d": math.inf, "generator.blocks.2.norm2.sharpness": math.nan})
        journal.record_evaluation(10, {"fd": math.nan, "kid": 0.5})
        journal.record_evaluation(12, {"fd": math.nan})
    assert '"fd": null' in (run_copy / "metrics.jsonl").read_text()
    write_step(run_copy / "model", 10)
    card = package(run_copy, tmp_path / "mine", "mine", Wishes(weights="last"))
    assert card.facts.layout["sharpness"] == 0.75
    [result] = ModelCard.load(tmp_path / "mine" / "README.md").data.eval_results
    assert (result.metric_name, result.metric_value) == ("kid", 0.5)
    write_step(run_copy / "model", 12)
    card = package(run_copy, tmp_path / "none", "mine", Wishes(weights="last"))
    assert not card.measured and "Not measured." in str(card)


def test_a_main_figure_that_was_not_finite_is_not_taken_for_the_next_one(run_copy):
    with_evaluations(run_copy, {2: {"fd": None, "kid": 20.0}, 4: {"fd": 20.0}}, 20.0)
    assert read_run(run_copy).step == 4


def test_of_a_record_the_hubs_table_has_the_finite_figures_alone(run_copy, tmp_path):
    of_classes = {"values": {"mean": math.nan}, "details": {"by_class": {"3": math.nan, "7": 2.0}}}
    one = record(run_copy, 6)
    write_results([one, replace(one, metric="intra-fd-90", **of_classes)], run_copy / "metrics" / "a.json")
    assert "null" in (run_copy / "metrics" / "a.json").read_text()
    package(run_copy, tmp_path / "mine", "mine", Wishes())
    card = ModelCard.load(tmp_path / "mine" / "README.md")
    assert [result.metric_value for result in card.data.eval_results] == [12.5]
    assert ".nan" not in card.content
    assert "| intra-fd-90 ↓ " in card.text.replace("  ", " ") and "| nan" in card.text
    write_results([replace(one, values={"distance": math.inf})], run_copy / "metrics" / "a.json")
    package(run_copy, tmp_path / "none", "mine", Wishes())
    assert not ModelCard.load(tmp_path / "none" / "README.md").data.eval_results


def test_a_best_score_that_no_evaluation_has_is_refused(run_copy, tmp_path):
    with_evaluations(run_copy, {2: {"fd": 30.0}}, 19.0)
    assert "resume the run to its end, or take its last weights" in refusal(run_copy, tmp_path / "x", "x", Wishes())
    assert not (tmp_path / "x").exists()


def test_records_from_elsewhere_must_be_of_these_weights(run_copy, tmp_path):
    with_evaluations(run_copy, {2: {"fd": 30.0}, 4: {"fd": 20.0}}, 20.0)
    unknown = replace(record(run_copy / "best", None).protocol, weights="unknown")  # as earlier versions had it
    good, bad, raw, nothing = (tmp_path / f"{name}.json" for name in ("good", "bad", "raw", "nothing"))
    good_one = record(run_copy / "best", 4)
    write_results([replace(record(run_copy / "best", None), protocol=unknown)], good)
    write_results([record(run_copy, 6)], bad)
    write_results([replace(good_one, protocol=replace(good_one.protocol, weights="raw"))], raw)
    nothing.write_text("[]")
    card = package(run_copy, tmp_path / "mine", "mine", Wishes(results=[good]))
    assert "Measured while it trained" not in str(card)
    [figure] = [figure for measurement in card.measured for figure in measurement.figures]
    assert (figure.value, figure.protocol["weights"], figure.protocol["step"]) == (12.5, "ema", 4)
    assert "step 4, raw weights, and not" in refusal(run_copy, tmp_path / "x", "x", Wishes(results=[raw]))
    assert "step 6, ema weights, and not" in refusal(run_copy, tmp_path / "x", "x", Wishes(results=[bad]))
    assert "holds no" in refusal(run_copy, tmp_path / "x", "x", Wishes(results=[nothing]))
    assert "holds no" in refusal(run_copy, tmp_path / "x", "x", Wishes(results=[tmp_path / "none.json"]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_rounded_weights_are_smaller_and_the_card_says_what_that_changed(finished_run, tmp_path, dtype):
    full = package(finished_run, tmp_path / "full", "full", Wishes())
    card = package(finished_run, tmp_path / "half", "half", Wishes(dtype=dtype))
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.7 * sizes[0]  # of so small a network the headers weigh most
    state = load_file(tmp_path / "half" / "model.safetensors")
    assert state["stem.bias"].dtype == getattr(torch, dtype)
    assert state["norm.running_var"].dtype == torch.float32
    original = Generator.from_pretrained(finished_run / "model").state_dict()
    loaded = Generator.from_pretrained(tmp_path / "half").state_dict()
    for name, value in original.items():
        torch.testing.assert_close(loaded[name], value, rtol=2**-8, atol=1e-6)
    pipes = [ClassConditionalPipeline.from_pretrained(tmp_path / name) for name in ("full", "half")]
    labels = [label for label in range(10) for _ in range(6)]
    difference = np.abs(np.subtract(*(pipe.draw(labels, seed=0).pictures.astype(int) for pipe in pipes)))
    said = f"by {difference.mean():.3f} grey levels of 255 on average, and {difference.max()} at most"
    assert said in str(card)
    assert f"stored as {dtype}" in str(card) and "stored as" not in str(full)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_disk_without_room_is_a_sentence_about_the_folder_that_was_asked_for(finished_run, tmp_path, dtype):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # of any file; the system treats it as a full disk
    try:
        message = refusal(finished_run, tmp_path / "mine", "mine", Wishes(dtype=dtype))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert message.startswith(f"cannot write {tmp_path / 'mine'} (")
    assert "File too large" in message and ".mine." not in message
    assert list(tmp_path.iterdir()) == []


def test_a_sheet_without_room_does_not_name_the_temporary_folder(finished_run, tmp_path, monkeypatch):
    def full(picture, path, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    message = refusal(finished_run, tmp_path / "mine", "mine", Wishes())
    assert message.startswith(f"cannot write {tmp_path / 'mine'} ({os.strerror(errno.ENOSPC)})")


def test_an_inpainters_folder_completes_and_its_card_has_its_best_evaluation(finished_inpainting_run, tmp_path):
    card = package(finished_inpainting_run, tmp_path / "holes", "holes", Wishes())
    pipe = InpaintingPipeline.from_pretrained(tmp_path / "holes")
    picture, hole = np.full((40, 40, 3), 90, np.uint8), np.zeros((40, 40), bool)
    hole[10:20, 10:20] = True
    assert np.array_equal(pipe.fill([picture], [hole])[0][~hole], picture[~hole])
    lines = [json.loads(line) for line in (finished_inpainting_run / "metrics.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: line["refined.centre.psnr"] + line["refined.random.psnr"])
    assert card.facts.step == best["step"]
    found = {figure.name: figure.value for measurement in card.measured for figure in measurement.figures}
    assert found["refined.centre.psnr"] == best["refined.centre.psnr"]
    loaded = ModelCard.load(tmp_path / "holes" / "README.md")
    assert loaded.data.pipeline_tag == "image-to-image"
    assert "1797 pictures, 180 of them held out, seed 0" in loaded.text
    assert "pictures 6; data pictures held out; holes seed 0" in loaded.text
    assert "It invents what is in a hole." in loaded.text
    with Image.open(tmp_path / "holes" / "samples.png") as image:
        assert image.width > 4 * 128


def test_an_evaluations_record_of_an_inpainter_goes_into_its_card(finished_inpainting_run, tmp_path):
    from attnorm.cli import main

    run = shutil.copytree(finished_inpainting_run, tmp_path / "run")
    assert main(["evaluate", str(run), "--num", "3"]) == 0
    card = package(run, tmp_path / "holes", "holes", Wishes(weights="last"))
    [measurement] = card.measured
    assert "| centre  | refined " in measurement.text and "3 pictures of digits-held-out" in measurement.text
    assert {figure.kind for figure in measurement.figures} == {"psnr", "ssim", "mae", "hole_mae"}
    assert all("model" not in figure.protocol for figure in measurement.figures)


def test_pictures_of_ones_own_have_to_be_described(run_copy, tmp_path):
    config = read_config(run_copy)
    (run_copy / "config.yaml").write_text(to_yaml(type(config)(**{**vars(config), "data": "/home/me/cats"})))
    assert "give --data-id, --data-about, --data-licence" in refusal(run_copy, tmp_path / "x", "x", Wishes())
    card = package(run_copy, tmp_path / "mine", "mine", Wishes(**OWN))
    assert "My cats ([source](https://example.org/cats)). Licence of the pictures: CC0." in str(card)
    assert card.metadata().datasets == ["me/cats"]
    assert "/home/me" not in str(card)


def test_what_cannot_be_packaged_is_refused_in_a_sentence(run_copy, tmp_path):
    target = tmp_path / "mine"
    assert "is no run" in refusal(tmp_path / "none", target, "x", Wishes())
    assert "--data-url is for pictures of your own" in refusal(run_copy, target, "x", Wishes(data_url="https://a"))
    assert "has no best model" in refusal(run_copy, target, "x", Wishes(weights="best"))
    assert "leave it out" in refusal(run_copy, target, "x", Wishes(pictures="digits"))
    (tmp_path / "file").write_text("")
    assert "cannot write" in refusal(run_copy, tmp_path / "file" / "x", "x", Wishes())
    target.mkdir()
    assert "exists already" in refusal(run_copy, target, "x", Wishes())
    assert list(tmp_path.glob(".mine*")) == []
    shutil.rmtree(run_copy / "model")
    assert "written with the first checkpoint" in refusal(run_copy, tmp_path / "other", "x", Wishes())


def test_wishes_are_the_options_of_the_command():
    from attnorm.cli.publishing_options import OF_DATA, OPTIONS

    assert set(asdict(Wishes())) == {*OPTIONS, *OF_DATA}


def test_validation_pictures_of_another_set_are_named_after_it(finished_inpainting_run):
    facts = read_run(finished_inpainting_run)
    own = [figure.other_data for measurement in measurements(facts) for figure in measurement.figures]
    facts = replace(facts, config=replace(facts.config, val_data="/elsewhere/places"))
    other = [figure.other_data for measurement in measurements(facts) for figure in measurement.figures]
    assert own and set(own) == {None}
    assert set(other) == {"places"} and len(other) == len(own)


@pytest.mark.parametrize("change", [{"pictures": "many"}, {"pictures": None}, {"best": "good"}, {"best": None}])
def test_a_checkpoint_of_another_shape_is_refused(change, run_copy, tmp_path):
    state, _ = checkpoint.newest(run_copy / "checkpoints")
    checkpoint.save(run_copy / "checkpoints", state["step"], {**state, **change}, 2)
    with pytest.raises(UserError, match="is none of a run that attnorm has trained: restore it"):
        read_run(run_copy)
