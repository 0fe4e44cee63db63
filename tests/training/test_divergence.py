"""What is not finite: the update that it would spoil is not made, and the run stops with its step or goes on."""

import copy
import math
import signal

import pytest
import torch

from attnorm.cli import main
from attnorm.config import derive
from attnorm.errors import UserError
from attnorm.training import class_conditional, inpainting_losses
from attnorm.training.class_conditional import ClassConditionalTask
from attnorm.training.divergence import LINES, Divergence
from attnorm.training.inpainting import InpaintingTask
from attnorm.training.running_metrics import Line
from tests.runs import ALONE, DIGITS, batch_of, differences, final_state, log_of, refused
from tests.two_processes import run_two

NAN = math.nan


@pytest.fixture
def poison(monkeypatch):
    """Makes the discriminator's loss, or only its gradient, NaN at some of its calls."""

    def poison(calls, *, gradient_only=False):
        loss, seen = class_conditional.hinge_discriminator_loss, []

        def spoilt(real, fake):
            seen.append(None)
            if len(seen) - 1 not in calls:
                return loss(real, fake)
            # The derivative of a square root is infinite at 0, and 0 times that is NaN.
            return loss(real, fake) + ((real * 0).sqrt().sum() if gradient_only else NAN)

        monkeypatch.setattr(class_conditional, "hinge_discriminator_loss", spoilt)

    return poison


@pytest.mark.promise
@pytest.mark.parametrize("gradient_only", [False, True])
@pytest.mark.parametrize("pieces", [1, 2])  # of two, one is enough
def test_a_spoilt_update_leaves_everything_as_it_was(gradient_only, pieces, poison, tiny_config):
    poison([pieces], gradient_only=gradient_only)
    task = ClassConditionalTask(derive(tiny_config, {"on_nonfinite": "skip", "accumulation": pieces}), ALONE)
    task.step(0, [batch_of()])
    before, seen = copy.deepcopy(task.state()), []
    update = task._update_generator
    task._update_generator = lambda *args: (seen.extend(differences(before, task.state())), update(*args))[1]
    metrics = task.step(1, [batch_of()])
    assert seen == []  # weights, moments, running moments, singular vectors: of both networks
    assert metrics["gradient_d"].isnan()
    assert metrics["loss_d"].isnan() != gradient_only
    assert metrics["gradient_g"].isfinite()
    assert differences(before["generator"], task.state()["generator"])
    assert task.step(2, [batch_of()])["gradient_d"].isfinite()
    assert all(value.isfinite().all() for value in task.discriminator.state_dict().values())


def test_a_spoilt_penalty_leaves_the_critics_as_they_were(tiny_inpainting_config, monkeypatch):
    penalty = inpainting_losses.gradient_penalty
    monkeypatch.setattr(inpainting_losses, "gradient_penalty", lambda *args: penalty(*args) * NAN)
    task = InpaintingTask(derive(tiny_inpainting_config, {"on_nonfinite": "skip", "phases.at_step": 0}), ALONE)
    before = copy.deepcopy(task.state())
    metrics = task.step(0, [batch_of(size=36) for _ in range(3)])
    assert metrics["gradient_c"].isnan()
    assert metrics["gradient_g"].isfinite()
    assert differences(before["critic"], task.state()["critic"]) == []
    assert differences(before["generator"], task.state()["generator"])


def test_the_norm_is_that_of_the_whole_gradient(tiny_config):
    task = ClassConditionalTask(tiny_config, ALONE)
    step, seen = task.optimizers["generator"].step, []

    def watched():
        seen.append([p.grad.double().flatten() for p in task.generator.parameters() if p.grad is not None])
        step()

    task.optimizers["generator"].step = watched
    metrics = task.step(0, [batch_of()])
    assert metrics["gradient_g"].item() == pytest.approx(torch.cat(seen[0]).norm().item(), rel=1e-5)


@pytest.mark.promise
@pytest.mark.parametrize(("log_every", "gradient_only"), [(1, True), (5, False)])  # 5: seen before the checkpoint
def test_a_diverged_run_stops_with_its_step_and_keeps_the_last_good_checkpoint(
    log_every, gradient_only, poison, tiny_arguments, tmp_path, capsys
):
    poison([2], gradient_only=gradient_only)
    run = tmp_path / "run"
    message = refused(capsys, *DIGITS, run, *tiny_arguments, "--log_every", log_every)
    assert "training has diverged: not finite in step 3: " in message
    assert "gradient_d" in message
    assert f"the last good checkpoint is {run / 'checkpoints' / 'step-2'}; start again with lower" in message
    assert final_state(run)["step"] == 2


def test_a_run_skips_counts_and_remembers(poison, tiny_arguments, tmp_path, capsys):
    poison([2, 3])
    run = tmp_path / "run"
    assert main([*DIGITS, str(run), *tiny_arguments, "--on_nonfinite", "skip"]) == 0
    assert "skipped 2 of 2 steps, 2 in all; not finite: loss_d (2 times)" in capsys.readouterr().out
    assert [line["skipped_steps"] for line in log_of(run)] == [0, 2, 2]
    assert ["loss_d" in line for line in log_of(run)] == [True, False, True]
    assert main(["resume", str(run), "--steps", "8"]) == 0
    assert log_of(run)[-1]["skipped_steps"] == 2


SECOND_ONLY = """
import os, signal, sys, torch
from attnorm.cli import main
from attnorm.training import class_conditional

loss, seen = class_conditional.hinge_discriminator_loss, []

def spoilt(real, fake):
    seen.append(None)
    if len(seen) == 3 and os.environ["RANK"] == "1":
        signal.raise_signal(signal.SIGTERM)
    return loss(real, fake) * (float("nan") if len(seen) == 2 and os.environ["RANK"] == "1" else 1)

class_conditional.hinge_discriminator_loss = spoilt
torch.set_num_threads(1)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.promise
def test_all_processes_skip_what_is_spoilt_in_one_and_stop_together_when_one_is_asked(tiny_arguments, tmp_path):
    run, more = tmp_path / "run", ["--on_nonfinite", "skip", "--steps", "20", "--log_every", "1"]
    both = run_two(lambda rank: ["-c", SECOND_ONLY, *DIGITS, str(run), *tiny_arguments, *more])
    assert [process.returncode for process in both] == [128 + signal.SIGTERM] * 2, both[1].stderr
    assert "stopped at step 4; continue with" in both[0].stdout
    assert final_state(run)["step"] == 4  # the answer travels while a step is computed
    log = log_of(run)
    assert [line["skipped_steps"] for line in log] == [0, 1, 1, 1]
    assert ["gradient_d" in line for line in log] == [True, False, True, True]
    assert all(math.isfinite(value) for line in log for value in line.values())


def judge(of, means=None, *, steps=10, missing=None, first=None):
    line = Line(steps, means or {}, missing or {}, first or {})
    of.count(line)
    return list(of.judge(line))


def test_a_spoilt_loss_and_its_gradient_are_one_skipped_step_and_a_penalty_alone_is_none(tmp_path):
    of = Divergence(tmp_path, skip=True)
    judge(of, missing={"loss_d": 1, "gradient_d": 2, "gradient_g": 1}, first={"loss_d": 1})
    judge(of, missing={"gradient_penalty": 3, "gradient_c": 1})
    assert of.skipped == 3


@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_that_only_skips_has_diverged_also_after_a_resume(resumed, tmp_path):
    of = Divergence(tmp_path, skip=True)
    for skipped in [10] * 9 + [9] + [10] * 9:  # once, one step was taken
        judge(of, missing={"gradient_d": skipped})
    if resumed:
        state, of = of.state(), Divergence(tmp_path, skip=True)
        of.load_state(state)
    assert of.skipped == 189
    with pytest.raises(UserError, match="the last 100 steps were all skipped"):
        judge(of, missing={"gradient_d": 10})


@pytest.mark.parametrize(
    ("name", "bad", "good", "part"),
    [
        ("loss_d", 0.001, 0.5, "lower discriminator_lr"),
        ("generator.blocks.2.norm2.effective_entities", 1.01, 3.0, "raise orthogonal_weight"),
        ("saturated_refined", 0.8, 0.2, "lower generator_lr"),
    ],
)
def test_a_symptom_that_lasts_is_warned_of_once(name, bad, good, part, tmp_path):
    of = Divergence(tmp_path, skip=False)
    said = [judge(of, {name: value}) for value in [bad] * (LINES - 1) + [good] + [bad] * 2 * LINES]
    assert [bool(lines) for lines in said].index(True) == 2 * LINES - 1
    (warning,) = [line for lines in said for line in lines]
    assert warning.startswith(f"warning: {name} ") and part in warning
