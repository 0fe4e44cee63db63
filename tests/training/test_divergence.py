"""What is not finite: the update that it would spoil is not made, and the run stops with its step."""

import copy
import math

import pytest
import torch

from attnorm.config import derive
from attnorm.training import class_conditional, losses
from attnorm.training.class_conditional import ClassConditionalTask
from attnorm.training.inpainting import InpaintingTask
from attnorm.training.running_metrics import LINES, Divergence, Line
from tests.runs import ALONE, DIGITS, batch_of, differences, final_state, moved, refused, weights

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
@pytest.mark.parametrize(("gradient_only", "pieces"), [(False, 1), (True, 2)])  # one piece of two is enough
def test_an_update_that_is_not_finite_is_not_made(gradient_only, pieces, poison, tiny_config):
    poison([pieces], gradient_only=gradient_only)
    task = ClassConditionalTask(derive(tiny_config, {"accumulation": pieces}), ALONE)
    task.step(0, [batch_of()])
    before = weights(task.discriminator)
    metrics = task.step(1, [batch_of()])
    assert moved(before, task.discriminator) == set()
    assert metrics["gradient_d"].isnan()
    assert metrics["loss_d"].isnan() != gradient_only
    assert metrics["gradient_g"].isfinite()


def test_a_spoilt_penalty_leaves_the_critics_as_they_were(tiny_inpainting_config, monkeypatch):
    penalty = losses.gradient_penalty
    monkeypatch.setattr(losses, "gradient_penalty", lambda *args: penalty(*args) * NAN)
    task = InpaintingTask(derive(tiny_inpainting_config, {"phases.at_step": 0}), ALONE)
    before = copy.deepcopy(task.state())
    metrics = task.step(0, [batch_of(size=36) for _ in range(3)])
    assert metrics["gradient_c"].isnan() and metrics["gradient_g"].isfinite()
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
    assert "not finite in step 3; " in message
    assert "gradient_d" in message
    assert f"the last good checkpoint is {run / 'checkpoints' / 'step-2'}; start again with lower" in message
    assert final_state(run)["step"] == 2


@pytest.mark.parametrize(
    ("name", "bad", "good", "part"),
    [
        ("loss_d", 0.001, 0.5, "lower discriminator_lr"),
        ("generator.blocks.2.norm2.effective_entities", 1.01, 3.0, "raise orthogonal_weight"),
        ("saturated_refined", 0.8, 0.2, "lower generator_lr"),
    ],
)
def test_a_symptom_that_lasts_is_warned_of_once(name, bad, good, part, tmp_path):
    of = Divergence(tmp_path)
    said = [list(of.warnings(Line({name: value}, {}))) for value in [bad] * (LINES - 1) + [good] + [bad] * 2 * LINES]
    assert [bool(lines) for lines in said].index(True) == 2 * LINES - 1
    (warning,) = [line for lines in said for line in lines]
    assert warning.startswith(f"warning: {name} ") and part in warning
