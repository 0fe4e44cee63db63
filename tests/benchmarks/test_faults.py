"""The harness of `make faults`: it can fail, and a short round of it passes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def differences(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from harness.runs import differences

    return differences


def test_a_copy_has_no_differences(run_copy, finished_run, differences):
    assert differences(run_copy, finished_run) == []


def flip_a_weight(run):
    path = run / "checkpoints" / "step-6"
    state = torch.load(path / "state.pt", weights_only=True)
    state["task"]["optimizers"]["generator"]["state"][0]["exp_avg"].view(-1)[0] += 1e-7
    from attnorm.training import checkpoint

    checkpoint.save(run / "checkpoints", 6, state, keep=2)


def change_a_line(run):
    text = (run / "log.jsonl").read_text()
    (run / "log.jsonl").write_text(text.replace('"loss_d": ', '"loss_d": 1', 1))


def remove_the_model(run):
    shutil.rmtree(run / "model")


def leave_something(run):
    (run / ".model.partial").mkdir()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (flip_a_weight, "checkpoint.task.optimizers.generator.state.0.exp_avg"),
        (change_a_line, "log.jsonl"),
        (remove_the_model, "model/model.safetensors"),
        (leave_something, "left over: .model.partial"),
    ],
)
def test_every_difference_is_named(change, said, run_copy, finished_run, differences):
    change(run_copy)
    assert said in differences(run_copy, finished_run)


@pytest.mark.slow
def test_a_short_round_of_kills(tmp_path):
    report = tmp_path / "report.json"
    harness = [sys.executable, str(BENCHMARKS / "faults.py"), "kills", "--kills", "1", "--seed", "1"]
    done = subprocess.run(
        [*harness, "--folder", str(tmp_path / "runs"), "--json", str(report)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())["kills"]
    assert (found["kills"], found["runs"], found["failures"]) == (1, 1, [])
    assert "1 kills (1 class-conditional)" in done.stdout
