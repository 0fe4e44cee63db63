"""Metrics between two lines of a log, and what is not finite: its update is not made, and the run stops."""

import math

import pytest
import torch

from attnorm.config import derive
from attnorm.training import class_conditional
from attnorm.training.class_conditional import ClassConditionalTask
from attnorm.training.running_metrics import RunningMetrics
from tests.runs import ALONE, DIGITS, batch_of, final_state, moved, refused, weights

NAN, INF = math.nan, math.inf


def running(*steps, first=0, state=()):
    found = RunningMetrics(ALONE)
    found.load_state(state)
    for step, metrics in enumerate(steps, first):
        found.add(step, {name: torch.tensor(value) for name, value in metrics.items()})
    return found


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_line_has_means_and_the_first_step_that_was_not_finite_until_it_is_cleared(value):
    steps = {"a": 1.0, "b": value, "c": 4.0}, {"a": value, "b": value}, {"a": 3.0, "b": 1.0, "c": 8.0}
    metrics = running(*steps, first=10)
    means, not_finite = metrics.line()
    assert not_finite == {"a": 11, "b": 10}
    assert means["c"] == 6.0 and not math.isfinite(means["a"])  # of steps that have it
    metrics.clear()
    assert metrics.line() == ({}, {})


@pytest.mark.promise
def test_sums_go_on_from_a_copied_state_bit_for_bit():
    steps = [{"a": 0.1 * index} for index in range(9)] + [{"a": 0.7, "b": 2.0}]
    first = running(*steps[:5])
    state = first.state()
    first.add(5, {"a": torch.tensor(100.0)})  # does not reach the state
    resumed = running(*steps[5:], first=5, state=state)
    assert resumed.line() == running(*steps).line()


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
