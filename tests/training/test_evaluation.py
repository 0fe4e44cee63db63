"""Evaluation during training: what it records, which model it keeps, and that it does not change the training."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from attnorm.cli import main
from attnorm.training import checkpoint, evaluation, loop
from attnorm.training.config import Evaluation
from tests.metrics.toy import Extractor
from tests.runs import ALONE


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


def metrics_of(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_every_evaluation_is_a_line_with_its_step(train):
    run = train("run", "--evaluate_every", "2", "--evaluation.metrics", "kid", "is")
    lines = metrics_of(run)
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert lines[0].keys() == {
        "step",
        "time",
        "kd-toy-12.mean",
        "kd-toy-12.deviation",
        "is-toy-12.mean",
        "is-toy-12.deviation",
    }


def test_the_last_step_is_evaluated_too(train):
    run = train("run", "--evaluate_every", "4", "--evaluation.metrics", "kid")
    assert [line["step"] for line in metrics_of(run)] == [4, 6]


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
    assert state["best"] == (3.0 if better == "lower" else -5.0)
    assert main(["generate", str(run / "best"), "-o", str(run / "best.png")]) == 0


def test_a_resumed_run_evaluates_again_what_came_after_its_checkpoint_and_keeps_its_best(train):
    run = train("run", "--evaluate_every", "2", "--evaluation.metrics", "kid", "--keep_checkpoints", "3")
    lines, best = metrics_of(run), load_file(run / "best" / "model.safetensors")
    shutil.rmtree(run / "checkpoints" / "step-6")
    shutil.rmtree(run / "checkpoints" / "step-4")
    assert main(["resume", str(run)]) == 0
    assert [{**line, "time": 0} for line in metrics_of(run)] == [{**line, "time": 0} for line in lines]
    again = load_file(run / "best" / "model.safetensors")
    assert all(torch.equal(best[key], again[key]) for key in best)


def test_a_mistake_in_the_protocol_is_found_before_training(tiny_arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "load_extractor", lambda name, device: Extractor())
    arguments = ["train", "an-gan-digits", "--data", "digits", "--out", str(tmp_path / "run"), *tiny_arguments]
    assert main([*arguments, "--evaluate_every", "2", "--evaluation.metrics", "fdi"]) == 2
    assert "unknown metric 'fdi'" in capsys.readouterr().err
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"metrics": ()}, "at least one metric"),
        ({"num": 0}, "evaluation.num must"),
        ({"num_real": -1}, "num_real must"),
    ],
)
def test_a_protocol_out_of_range_is_refused(changes, part):
    with pytest.raises(ValueError, match=part):
        evaluation.EvaluationConfig(**changes)


def test_the_figures_are_those_of_attnorm_evaluate(train, monkeypatch, tmp_path):
    run = train("run", "--evaluate_every", "6", "--evaluation.metrics", "fd", "--evaluation.num_real", "0")
    from attnorm.cli import evaluate_generator

    monkeypatch.setattr(evaluate_generator, "load_extractor", lambda *arguments: Extractor())
    out = tmp_path / "record.json"
    code = main(["evaluate", str(run), "--metrics", "fd", "--num", "12", "--num-real", "0", "--out", str(out)])
    assert code == 0
    record = json.loads(out.read_text())[0]
    np.testing.assert_allclose(next(iter(record["values"].values())), metrics_of(run)[-1][record["metric"]], rtol=1e-9)


def test_evaluation_needs_preparation(tiny_config):

    from attnorm.training.class_conditional import ClassConditionalTask

    with pytest.raises(RuntimeError, match="prepare_evaluation"):
        ClassConditionalTask(tiny_config, ALONE).evaluate(1)
