"""Evaluation during training: what it records, which model it keeps, and that it does not change the training."""

import shutil

import pytest

from attnorm.data.builtin import load_builtin
from attnorm.models.class_conditional import Generator
from attnorm.models.pretrained import step_of
from attnorm.training import class_conditional, loop
from attnorm.training.class_conditional import ClassConditionalTask
from attnorm.training.config import Evaluation
from tests.metrics.toy import Extractor
from tests.runs import ALONE, log_of, main


@pytest.fixture
def train(tiny_arguments, tmp_path, monkeypatch):
    """Trains a tiny run that evaluates with a toy network; returns its folder."""
    monkeypatch.setattr(class_conditional, "load_extractor", lambda name, device: Extractor())

    def run(name, *arguments):
        out = tmp_path / name
        numbers = ["--evaluation.num", "12", "--evaluation.num_real", "12"]
        code = main(
            ["train", "an-gan-digits", "--data", "digits", "--out", str(out), *tiny_arguments, *numbers, *arguments]
        )
        assert code == 0
        return out

    return run


def test_every_evaluation_is_a_line_with_its_step_and_does_not_change_the_training(train, finished_run):
    run = train("run", "--evaluate_every", "2", "--evaluation.metrics", "kid", "is")
    lines = log_of(run, "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 4, 6]
    values = {f"{name}-toy-12.{value}" for name in ("kd", "is") for value in ("mean", "deviation")}
    assert lines[0].keys() == {"step"} | values
    assert (run / "model/model.safetensors").read_bytes() == (finished_run / "model/model.safetensors").read_bytes()


@pytest.mark.parametrize(("better", "best"), [("lower", 4), ("higher", 2)])
def test_the_best_model_is_kept_whichever_way_better_goes(train, monkeypatch, better, best):
    values = iter([5.0, 3.0, 4.0])  # at the steps 2, 4 and 6

    def evaluate(self, step):
        value = next(values)
        return Evaluation({"toy": value}, value if better == "lower" else -value)

    monkeypatch.setattr(ClassConditionalTask, "evaluate", evaluate)
    run = train("run", "--evaluate_every", "2")
    assert (step_of(run / "best"), step_of(run / "model")) == (best, 6)
    Generator.from_pretrained(run / "best")


def test_a_resumed_run_evaluates_again_what_came_after_its_checkpoint_and_keeps_its_best(train):
    run = train("run", "--evaluate_every", "2", "--evaluation.metrics", "kid", "--keep_checkpoints", "3")
    lines, best = log_of(run, "metrics.jsonl"), (run / "best" / "model.safetensors").read_bytes()
    for step in (4, 6):
        shutil.rmtree(run / "checkpoints" / f"step-{step}")
    assert main(["resume", str(run)]) == 0
    assert log_of(run, "metrics.jsonl") == lines
    assert (run / "best" / "model.safetensors").read_bytes() == best


@pytest.mark.promise
def test_the_metrics_are_those_of_the_saved_model(train):
    run = train("run", "--evaluate_every", "4", "--evaluation.metrics", "fd", "--evaluation.num_real", "0")
    lines, config = log_of(run, "metrics.jsonl"), loop.read_config(run)
    assert [line["step"] for line in lines] == [4, 6]  # the last step is evaluated too
    task = ClassConditionalTask(config, ALONE)
    task.prepare_evaluation(load_builtin("digits", 32))
    task.sampling_generator = lambda: Generator.from_pretrained(run / "model")
    measured = task.evaluate(6)
    assert lines[-1] == pytest.approx({"step": 6, **measured.metrics}, rel=1e-9)
