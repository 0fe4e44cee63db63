"""Evaluation during training: what it records, and that it does not change the training."""

import pytest

from attnorm.data.builtin import load_builtin
from attnorm.models.class_conditional import Generator
from attnorm.models.pretrained import step_of
from attnorm.training import class_conditional, loop
from attnorm.training.class_conditional import ClassConditionalTask
from tests.metrics.toy import Extractor
from tests.runs import ALONE, DIGITS, log_of, main


@pytest.fixture
def train(tiny_arguments, tmp_path, monkeypatch):
    """Trains a tiny run that evaluates with a toy network; returns its folder."""
    monkeypatch.setattr(class_conditional, "load_extractor", lambda name, device: Extractor())

    def run(*arguments):
        numbers = ["--evaluation.num", "12", "--evaluation.num_real", "12"]
        assert main([*DIGITS, str(tmp_path / "run"), *tiny_arguments, *numbers, *arguments]) == 0
        return tmp_path / "run"

    return run


def test_every_evaluation_is_a_line_with_its_step_and_does_not_change_the_training(train, finished_run):
    run = train("--evaluate_every", "2", "--evaluation.metrics", "kid", "is")
    lines = log_of(run, "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 4, 6]
    values = {"kd-toy-12", "is-toy-12.mean", "is-toy-12.deviation"}  # one subset has no deviation
    assert lines[0].keys() == {"step"} | values
    assert step_of(run / "best") in (2, 4, 6)
    assert (run / "model/model.safetensors").read_bytes() == (finished_run / "model/model.safetensors").read_bytes()


@pytest.mark.promise
def test_the_metrics_are_those_of_the_saved_model(train):
    run = train("--evaluate_every", "4", "--evaluation.metrics", "fd", "--evaluation.num_real", "0")
    lines, config = log_of(run, "metrics.jsonl"), loop.read_config(run)
    assert [line["step"] for line in lines] == [4, 6]  # the last step is evaluated too
    task = ClassConditionalTask(config, ALONE)
    task.prepare_evaluation(load_builtin("digits", 32))
    task.sampling_generator = lambda: Generator.from_pretrained(run / "model")
    measured = task.evaluate(6)
    assert lines[-1] == pytest.approx({"step": 6, **measured.metrics}, rel=1e-9)
