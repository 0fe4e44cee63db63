"""What is said of a run that goes wrong, and when it is stopped."""

import pytest

from attnorm.errors import UserError
from attnorm.training.divergence import LINES, Divergence
from attnorm.training.figures import Line


def judge(of, means=None, *, steps=10, missing=None, first=None):
    line = Line(steps, means or {}, missing or {}, first or {})
    of.count(line)
    return list(of.judge(line))


@pytest.fixture
def make(tmp_path):
    def make(skip=False):
        return Divergence(tmp_path, tmp_path / "checkpoints", skip=skip)

    return make


def test_step_terms_and_the_last_good_checkpoint_are_named(make, tmp_path):
    bad = {"loss_d": 3, "gradient_d": 3, "loss_g": 2}
    first = {"loss_d": 41, "gradient_d": 41, "loss_g": 42}
    of = make()
    of.last_good = 40
    with pytest.raises(UserError) as caught:
        judge(of, missing=bad, first=first)
    message = str(caught.value)
    assert "loss_d and gradient_d are not finite in step 42;" in message
    assert f"the last good checkpoint is {tmp_path / 'checkpoints' / 'step-40'};" in message
    assert "on_nonfinite: skip" in message
    assert "\n" not in message


def test_one_term_is_one_and_without_a_checkpoint_there_is_none(make):
    with pytest.raises(UserError, match="loss_g is not finite in step 1; there is no checkpoint from before;"):
        judge(make(), missing={"loss_g": 1}, first={"loss_g": 0})


def test_before_a_checkpoint_the_same_stops_but_nothing_else_is_judged(make):
    bad = Line(3, {}, {"loss_g": 1}, {"loss_g": 5})
    with pytest.raises(UserError, match="loss_g is not finite in step 6"):
        make().stop_if_diverged(bad)
    skipping = make(skip=True)
    skipping.stop_if_diverged(bad)
    assert skipping.skipped == 0


def test_skipped_steps_are_counted_and_told_at_each_line(make):
    of = make(skip=True)
    assert of.figures() == {"skipped_steps": 0}
    # The loss that was not finite spoilt a gradient: that is one step, and not two.
    said = judge(of, missing={"loss_d": 1, "gradient_d": 2, "gradient_g": 1}, first={"loss_d": 1})
    assert said == [
        "skipped 2 of 10 steps, 2 in all: not finite were loss_d 1 times, gradient_d 2 times, gradient_g 1 times"
    ]
    assert judge(of, {"loss_d": 1.0}) == []
    judge(of, missing={"gradient_g": 3})
    assert of.figures() == {"skipped_steps": 5}
    assert make().figures() == {}


def test_a_run_that_only_skips_has_diverged(make):
    of = make(skip=True)
    for _ in range(9):
        judge(of, missing={"gradient_d": 10})
    judge(of, missing={"gradient_d": 9})  # one step was taken
    for _ in range(9):
        judge(of, missing={"gradient_d": 10})
    with pytest.raises(UserError, match="the last 100 steps were all skipped"):
        judge(of, missing={"gradient_d": 10})


def test_a_resumed_run_goes_on_counting(make):
    of = make(skip=True)
    for _ in range(9):
        judge(of, missing={"gradient_d": 10})
    resumed = make(skip=True)
    resumed.load_state(of.state())
    assert resumed.figures() == {"skipped_steps": 90}
    with pytest.raises(UserError, match="the last 100 steps were all skipped"):
        judge(resumed, missing={"gradient_d": 10})


def test_a_checkpoint_of_an_earlier_version_has_no_counts(make):
    of = make(skip=True)
    of.load_state({})
    assert of.state() == {"skipped": 0, "skipped_in_a_row": 0}


def test_a_penalty_that_is_not_finite_is_no_skipped_update(make):
    of = make(skip=True)
    judge(of, missing={"gradient_penalty": 3, "gradient_c": 1})
    assert of.skipped == 1


@pytest.mark.parametrize(
    ("name", "bad", "good", "part"),
    [
        ("loss_d", 0.001, 0.5, "lower discriminator_lr"),
        ("generator.blocks.2.norm2.effective_entities", 1.01, 3.0, "raise orthogonal_weight"),
        ("saturated_refined", 0.8, 0.2, "lower generator_lr"),
    ],
)
def test_a_symptom_that_lasts_is_told_once(name, bad, good, part, make):
    of = make()
    for _ in range(LINES - 1):
        assert judge(of, {name: bad}) == []
    assert judge(of, {name: good}) == []  # it went away
    for _ in range(LINES - 1):
        assert judge(of, {name: bad}) == []
    (said,) = judge(of, {name: bad})
    assert said.startswith(f"warning: {name} ")
    assert part in said
    for value in [bad] * LINES + [good] + [bad] * LINES:
        assert judge(of, {name: value}) == []


def test_ordinary_figures_are_no_symptoms(make):
    of = make()
    ordinary = {"loss_d": 1.1, "loss_g": 0.0, "loss_c": -3.0, "saturated_coarse": 0.0, "wasserstein": 0.0}
    assert [said for _ in range(2 * LINES) for said in judge(of, ordinary)] == []
