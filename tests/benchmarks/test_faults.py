"""The harness of `make faults`: it can fail, and a short round of it passes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
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


def test_a_process_that_hangs_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from harness import kills

    monkeypatch.setattr(kills, "PATIENCE_SECONDS", 0.2)
    trial = kills._Trial(kills.KINDS[0], tmp_path / "run", 0, 1.0, random.Random(0))
    monkeypatch.setattr(trial, "_next", lambda: [sys.executable, "-c", "import time; time.sleep(60)"])
    for aim in ("any moment of the training", "a model's write"):
        hit, wrong = trial._start_and_kill(aim, None)
        assert hit is None
        assert wrong.startswith(f"did neither end nor get to {aim} within")


CHILD_AND_HANG = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""  # as torchrun does


def test_a_command_that_hangs_is_killed_with_all_that_it_started(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from harness import runs

    process = runs.start([sys.executable, "-c", CHILD_AND_HANG])
    child = int(process.stdout.readline())
    err = runs.finish(process, seconds=0.2)[1]
    assert process.returncode == -signal.SIGKILL
    assert err.endswith("did not end within 0 s and was killed")
    deadline = time.monotonic() + 30
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"  # killed, and nobody has asked for its exit code


def test_what_does_not_happen_in_time_is_an_error_and_the_process_is_killed(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from harness import runs

    process = runs.start([sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(RuntimeError, match="did not happen within 0 s"):
        runs.wait_for(lambda: False, process, 0.2, pause=0.01)
    assert process.poll() == -signal.SIGKILL
    process.communicate()


def test_a_part_that_cannot_go_on_is_a_failure_and_the_others_are_still_tried(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import faults as program
    from harness import processes

    def lost(folder, found):
        raise FileNotFoundError("no checkpoint")

    tried = []
    for name in ("_same_losses", "_interrupted", "_same_evaluation", "_one_writer", "_one_dies", "_stopped"):
        monkeypatch.setattr(processes, name, lambda folder, found, name=name: tried.append(name))
    lost.__name__ = "_one_dies"
    monkeypatch.setattr(processes, "_one_dies", lost)
    found = processes.run(tmp_path / "processes")
    assert found["failures"] == ["one dies, to its end: broken off: no checkpoint"]
    assert tried == ["_same_losses", "_interrupted", "_same_evaluation", "_one_writer", "_stopped"]

    def broken(folder, args):
        raise RuntimeError("the undisturbed run failed")

    monkeypatch.setattr(program, "PARTS", {"disks": broken, "processes": lambda folder, args: found})
    report = tmp_path / "report.md"
    assert program.main(["--folder", str(tmp_path / "round"), "--markdown", str(report)]) == 1
    text = report.read_text()
    assert "FAILED disks: broken off: the undisturbed run failed" in text
    assert "FAILED processes: one dies, to its end" in text


def faults(*arguments):
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "faults.py"), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_the_harness_cannot_do_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "kills" / "run-000").mkdir(parents=True)
    for arguments, part in (
        (("kills", "--folder", tmp_path), "holds an earlier round"),
        (("kills", "--folder", tmp_path / "new", "--kills", "0"), "--kills and --jobs must be at least 1"),
    ):
        done = faults(*arguments)
        assert done.returncode == 2
        assert part in done.stderr
        assert "Traceback" not in done.stderr


def test_memory_that_grows_or_cannot_be_told_is_a_failure(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from harness import memory

    slopes = iter([(0.5, 0.1, 50), (0.5, 0.3, 50)])  # surely below the limit of 1; not surely
    monkeypatch.setattr(memory, "growth", lambda *arguments: next(slopes))
    below, above = (300.0 + memory.MOST_DIFFERENCE_MB + more for more in (-1.0, 1.0))
    peaks = {"evaluate": ((4, 64), (300.0, below)), "inpaint FOLDER": ((4, 64), (300.0, above))}
    monkeypatch.setattr(memory, "_peaks", lambda folder: peaks)
    failures = memory.run(tmp_path, 100)["failures"]
    assert [said.split(":")[0] for said in failures] == ["inpainting", "inpaint FOLDER"]


@pytest.mark.slow
def test_a_short_round_of_kills(tmp_path):
    report = tmp_path / "report.json"
    done = faults("kills", "--kills", "1", "--seed", "1", "--folder", tmp_path / "runs", "--json", report)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())["kills"]
    assert (found["kills"], found["runs"], found["failures"]) == (1, 1, [])
    assert "1 kills (1 class-conditional)" in done.stdout
