"""The harness of `make faults` can fail: every difference and hang is found."""

import signal
import sys

import pytest
import torch


@pytest.fixture(autouse=True)
def _importable(monkeypatch, request):
    monkeypatch.syspath_prepend(str(request.config.rootpath / "benchmarks"))


def test_every_difference_is_named(run_copy, finished_run):
    from harness.runs import differences

    from attnorm.training import checkpoint

    assert differences(run_copy, finished_run) == []
    (run_copy / ".model.partial").mkdir()
    (run_copy / "model" / "model.safetensors").unlink()
    state = torch.load(run_copy / "checkpoints" / "step-6" / "state.pt", weights_only=True)
    state["task"]["optimizers"]["generator"]["state"][0]["exp_avg"].view(-1)[0] += 1e-7
    checkpoint.save(run_copy / "checkpoints", 6, state, keep=2)
    found = differences(run_copy, finished_run)
    moment = "checkpoint.task.optimizers.generator.state.0.exp_avg"
    assert {moment, "model/model.safetensors", "left over: .model.partial"} <= set(found)


def test_a_process_that_hangs_is_killed_and_is_a_failure():
    from harness import runs

    process = runs.start([sys.executable, "-c", "import time; time.sleep(60)"])
    assert "did not end within 0 s" in runs.finish(process, seconds=0.2)[1]
    assert process.returncode == -signal.SIGKILL
