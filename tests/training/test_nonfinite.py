"""Losses and gradients that are not finite: the update that they would spoil is not made; the run stops, or goes on."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from attnorm.cli import main
from attnorm.config import derive
from attnorm.training import checkpoint, class_conditional, inpainting_losses
from attnorm.training.class_conditional import ClassConditionalTask
from attnorm.training.inpainting import InpaintingTask

DIGITS = ("train", "an-gan-digits", "--data", "digits", "--out")
NAN = math.nan


def copied(state):
    if isinstance(state, torch.Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {name: copied(value) for name, value in state.items()}
    return [copied(value) for value in state] if isinstance(state, list) else state


def changed(before, now, where=""):
    """The places of two nested states that differ."""
    if isinstance(before, torch.Tensor):
        return [] if torch.equal(before, now) else [where]
    if isinstance(before, dict):
        return [place for name in before for place in changed(before[name], now[name], f"{where}.{name}")]
    if isinstance(before, list):
        return [place for i, old in enumerate(before) for place in changed(old, now[i], f"{where}.{i}")]
    return [] if before == now else [where]


def batch_of(count=4, size=32):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, size, size, 3), dtype=np.uint8), random.integers(0, 10, count)


@pytest.fixture
def poisoned(monkeypatch):
    """Makes the discriminator's loss, or only its gradient, NaN at some of its calls."""

    def poison(calls, *, gradient_only=False):
        loss, seen = class_conditional.hinge_discriminator_loss, []

        def spoilt(real, fake):
            seen.append(None)
            if len(seen) - 1 not in calls:
                return loss(real, fake)
            # The derivative of a square root is infinite at 0, and 0 times that is no number.
            return loss(real, fake) + ((real * 0).sqrt().sum() if gradient_only else NAN)

        monkeypatch.setattr(class_conditional, "hinge_discriminator_loss", spoilt)

    return poison


@pytest.mark.parametrize("gradient_only", [False, True])
@pytest.mark.parametrize("pieces", [1, 2])  # of two, one is enough
def test_a_spoilt_update_leaves_everything_as_it_was(gradient_only, pieces, poisoned, tiny_config):
    poisoned([pieces], gradient_only=gradient_only)
    config = derive(tiny_config, {"on_nonfinite": "skip", "accumulation": pieces})
    task = ClassConditionalTask(config, Accelerator(cpu=True))
    task.step(0, [batch_of()])
    before, seen = copied(task.state()), []
    update = task._update_generator

    def watched(*args):
        seen.append(changed(before, task.state()))
        return update(*args)

    task._update_generator = watched
    figures = task.step(1, [batch_of()])
    assert seen == [[]]  # weights, moments, running moments, singular vectors: of both networks
    assert figures["gradient_d"].isnan()
    assert figures["loss_d"].isnan() != gradient_only
    assert figures["gradient_g"].isfinite()
    assert any(place.startswith(".generator.") for place in changed(before, task.state()))
    assert task.step(2, [batch_of()])["gradient_d"].isfinite()
    assert all(value.isfinite().all() for value in task.discriminator.state_dict().values())


def test_one_of_several_updates_in_a_step_is_enough_to_be_seen(poisoned, tiny_config):
    poisoned([0])
    task = ClassConditionalTask(derive(tiny_config, {"discriminator_steps": 2}), Accelerator(cpu=True))
    figures = task.step(0, [batch_of(), batch_of()])
    assert figures["gradient_d"].isnan()
    assert figures["loss_d"].isfinite()  # of the last update


def test_a_spoilt_penalty_leaves_the_critics_as_they_were(tiny_inpainting_config, monkeypatch):
    penalty = inpainting_losses.gradient_penalty
    monkeypatch.setattr(inpainting_losses, "gradient_penalty", lambda *args: penalty(*args) * NAN)
    config = derive(tiny_inpainting_config, {"on_nonfinite": "skip", "phases.at_step": 0})
    task = InpaintingTask(config, Accelerator(cpu=True))
    before = copied(task.state())
    figures = task.step(0, [batch_of(size=36) for _ in range(3)])
    assert figures["gradient_c"].isnan()
    assert figures["gradient_g"].isfinite()
    assert changed(before["critic"], task.critic.state_dict()) == []
    assert changed(before["generator"], task.generator.state_dict())


def test_the_norm_is_that_of_the_whole_gradient(tiny_config):
    task = ClassConditionalTask(tiny_config, Accelerator(cpu=True))
    step, seen = task.optimizers["generator"].step, []

    def watched():
        seen.append([p.grad.double().flatten() for p in task.generator.parameters() if p.grad is not None])
        step()

    task.optimizers["generator"].step = watched
    figures = task.step(0, [batch_of()])
    assert figures["gradient_g"].item() == pytest.approx(torch.cat(seen[0]).norm().item(), rel=1e-5)


def log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_run_names_a_gradient_that_is_not_finite(poisoned, tiny_arguments, tmp_path, capsys):
    poisoned([3], gradient_only=True)
    assert main([*DIGITS, str(tmp_path / "run"), *tiny_arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith(
        "attnorm: error: the training has diverged: gradient_d is not finite in step 4; the last good"
    )
    assert err.count("\n") == 1
    state, _ = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert state["step"] == 2


def test_a_run_skips_counts_and_remembers(poisoned, tiny_arguments, tmp_path, capsys):
    poisoned([2, 3])
    run = tmp_path / "run"
    assert main([*DIGITS, str(run), *tiny_arguments, "--on_nonfinite", "skip"]) == 0
    assert "skipped 2 of 2 steps, 2 in all: not finite were loss_d 2 times" in capsys.readouterr().out
    assert [line["skipped_steps"] for line in log(run)] == [0, 2, 2]
    assert ["loss_d" in line for line in log(run)] == [True, False, True]
    assert main(["resume", str(run), "--steps", "8"]) == 0
    assert log(run)[-1]["skipped_steps"] == 2


ONE_SPOILT = """
import os, sys, torch
from attnorm.cli import main
from attnorm.training import class_conditional

loss, seen = class_conditional.hinge_discriminator_loss, []

def spoilt(real, fake):
    seen.append(None)
    return loss(real, fake) * (float("nan") if len(seen) == 2 and os.environ["RANK"] == "1" else 1)

class_conditional.hinge_discriminator_loss = spoilt
torch.set_num_threads(1)
sys.exit(main(sys.argv[1:]))
"""


def test_all_processes_skip_what_is_spoilt_in_one(tiny_arguments, tmp_path):
    (tmp_path / "program.py").write_text(ONE_SPOILT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    more = ["--on_nonfinite", "skip", "--steps", "4", "--log_every", "1", "--sample_every", "4"]
    done = subprocess.run(
        [*launch, str(tmp_path / "program.py"), *DIGITS, str(tmp_path / "run"), *tiny_arguments, *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line["skipped_steps"] for line in log(tmp_path / "run")] == [0, 1, 1, 1]
    assert ["gradient_d" in line for line in log(tmp_path / "run")] == [True, False, True, True]
    assert all(math.isfinite(value) for line in log(tmp_path / "run") for value in line.values())
