"""Evaluation during training: what it records, which model it keeps, and that it does not change the training."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from attnorm.data.builtin import load_builtin
from attnorm.models.class_conditional import Generator
from attnorm.training import checkpoint, evaluation, loop
from attnorm.training.config import Evaluation
from tests.metrics.toy import Extractor
from tests.runs import log_of, main


@pytest.fixture
def train(tiny_arguments, tmp_path, monkeypatch):
    """Trains a tiny run that evaluates with a toy network; returns its folder."""
    monkeypatch.setattr(evaluation, "load_extractor", lambda name, device: Extractor())

    def run(name, *arguments):
        out = tmp_path / name
        numbers = ["--evaluation.num", "12", "--evaluation.num_real", "12"]
        code = main(
            ["train", "an-gan-digits", "--data", "digits", "--out", str(out), *tiny_arguments, *numbers, *arguments]
        )
        assert code == 0
        return out

    return run


def test_every_evaluation_is_a_line_with_its_step(train):
    run = train("run", "--evaluate_every", "2", "--evaluation.metrics", "kid", "is")
    lines = log_of(run, "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert lines[0].keys() == {
        "step",
        "kd-toy-12.mean",
        "kd-toy-12.deviation",
        "is-toy-12.mean",
        "is-toy-12.deviation",
    }


def test_evaluating_does_not_change_the_training(train, finished_run):
    run = train("run", "--evaluate_every", "1", "--evaluation.metrics", "kid")
    name = "model/model.safetensors"
    first, second = load_file(run / name), load_file(finished_run / name)
    assert all(torch.equal(first[key], second[key]) for key in second)


@pytest.mark.parametrize(("better", "expected"), [("lower", 4), ("higher", 2)])
def test_the_best_model_is_kept_whichever_way_better_goes(train, monkeypatch, better, expected):
    values = {2: 5.0, 4: 3.0, 6: 4.0}
    saved = []
    steps = iter(values)
    monkeypatch.setattr(
        evaluation.GeneratorEvaluation,
        "measure",
        lambda self, generator: (lambda v: Evaluation({"toy": v}, v if better == "lower" else -v))(values[next(steps)]),
    )
    original = loop._save_model

    def watched(task, folder, step):
        saved.append(folder.name)
        original(task, folder, step)

    monkeypatch.setattr(loop, "_save_model", watched)
    run = train("run", "--evaluate_every", "2", "--checkpoint_every", "2")
    # At the steps 2, 4 and 6 the model is saved with the checkpoint; the best one before it.
    assert saved == {4: ["best", "model", "best", "model", "model"], 2: ["best", "model", "model", "model"]}[expected]
    state, _ = checkpoint.newest(run / "checkpoints")
    assert state["best"] == {0: 3.0 if better == "lower" else -5.0}
    Generator.from_pretrained(run / "best")


def test_a_resumed_run_evaluates_again_what_came_after_its_checkpoint_and_keeps_its_best(train):
    run = train("run", "--evaluate_every", "2", "--evaluation.metrics", "kid", "--keep_checkpoints", "3")
    lines, best = log_of(run, "metrics.jsonl"), load_file(run / "best" / "model.safetensors")
    shutil.rmtree(run / "checkpoints" / "step-6")
    shutil.rmtree(run / "checkpoints" / "step-4")
    assert main(["resume", str(run)]) == 0
    assert log_of(run, "metrics.jsonl") == lines
    again = load_file(run / "best" / "model.safetensors")
    assert all(torch.equal(best[key], again[key]) for key in best)


@pytest.mark.promise
def test_the_metrics_are_those_of_the_saved_model(train):
    run = train("run", "--evaluate_every", "4", "--evaluation.metrics", "fd", "--evaluation.num_real", "0")
    lines, config = log_of(run, "metrics.jsonl"), loop.read_config(run)
    assert [line["step"] for line in lines] == [4, 6]  # the last step is evaluated too
    protocol = evaluation.GeneratorEvaluation(
        config.evaluation, load_builtin("digits", 32), config.generator.class_names, "cpu"
    )
    measured = protocol.measure(Generator.from_pretrained(run / "model"))
    assert lines[-1] == pytest.approx({"step": 6, **measured.metrics}, rel=1e-9)
