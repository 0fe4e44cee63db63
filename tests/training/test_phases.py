"""The end of phase 1: at a step, or when the validation error stops falling."""

import pytest

from attnorm.training.phases import PhaseConfig, Phases


def observed(config, errors):
    """After which evaluation, counted from 1, phase 1 ended; each is ten steps after the one before."""
    phases = Phases(config)
    ended = [number for number, error in enumerate(errors, 1) if phases.observe(10 * number, error)]
    assert phases.switched_at == (10 * ended[0] if ended else None)
    return ended


@pytest.mark.parametrize(
    ("errors", "ended"),
    [
        ([1.0, 0.8, 0.6, 0.4, 0.3], []),
        ([1.0, 0.95, 0.95], [3]),  # neither is a tenth better than 1.0
        ([1.0, 0.95, 0.89, 0.85, 0.83], [5]),  # two small steps are a large one
        ([1.0, 1.2, 0.8, 0.9, 0.7], []),
        ([1.0, 0.9, 0.8], []),  # 0.9 is no clear improvement, 0.8 is
        ([1.0, 1.0, 1.0, 1.0], [3]),  # once only
        ([float("inf"), 1.0, 0.5], []),
    ],
)
def test_phase_1_ends_when_no_error_of_so_many_is_clearly_better(errors, ended):
    assert observed(PhaseConfig(improvement=0.1, patience=2), errors) == ended


def test_the_phases_of_steps_and_how_many_are_reconstruction_only():
    phases = Phases(PhaseConfig(patience=1))
    assert [phases.reconstruction_steps(step) for step in (0, 7, 100)] == [0, 7, 100]
    assert not phases.is_adversarial(1000)
    assert [phases.observe(step, 1.0) for step in (10, 20)] == [False, True]
    assert [phases.is_adversarial(step) for step in (19, 20, 21)] == [False, True, True]
    assert [phases.reconstruction_steps(step) for step in (7, 20, 100)] == [7, 20, 20]


def test_the_progress_of_each_phase():
    phases = Phases(PhaseConfig(at_step=3))
    assert [phases.progress(step, 8) for step in (0, 2, 3, 7)] == [(0, 3), (2, 3), (0, 5), (4, 5)]
    phases = Phases(PhaseConfig(patience=1))
    assert phases.progress(7, 8) == (0, 1)
    for step in (2, 4):
        phases.observe(step, 1.0)
    assert [phases.progress(step, 8) for step in (4, 7)] == [(0, 4), (3, 4)]


def test_the_criterion_goes_on_where_it_was():
    config, errors = PhaseConfig(improvement=0.1, patience=2), [1.0, 0.95, 0.95]
    for cut in range(4):
        first, second = Phases(config), Phases(config)
        for step, error in enumerate(errors[:cut], 1):
            first.observe(step, error)
        second.load_state(first.state())
        for step, error in enumerate(errors[cut:], cut + 1):
            second.observe(step, error)
        assert second.switched_at == 3
