"""Sums of figures between two lines of a log."""

import math

import pytest
import torch

from attnorm.training.figures import FigureSums

NAN, INF = math.nan, math.inf


class Alone:
    num_processes = 1


def sums_of(*steps, first=0):
    sums = FigureSums(torch.device("cpu"))
    for step, figures in enumerate(steps, first):
        sums.add(step, {name: torch.tensor(value) for name, value in figures.items()})
    return sums


def test_means_are_over_the_steps_that_had_the_figure():
    line = sums_of({"a": 1.0, "b": 4.0}, {"a": 3.0}, {"a": 5.0, "b": 8.0}).line(Alone)
    assert (line.steps, line.missing, line.first) == (3, {}, {})
    assert line.means == {"a": 3.0, "b": 6.0}


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_is_not_finite_is_left_out_counted_and_dated(value):
    line = sums_of({"a": 1.0, "b": value}, {"a": value, "b": value}, {"a": 3.0, "b": value}, first=10).line(Alone)
    assert line.means == {"a": 2.0}
    assert line.missing == {"a": 1, "b": 3}
    assert line.first == {"a": 11, "b": 10}


def test_a_line_is_read_without_being_ended_and_clear_ends_it():
    sums = sums_of({"a": 1.0})
    assert sums.line(Alone) == sums.line(Alone)
    sums.clear()
    assert sums.line(Alone) == (0, {}, {}, {})


def test_sums_go_on_from_their_state_bit_for_bit():
    steps = [{"a": 0.1 * index} for index in range(9)] + [{"a": 0.7, "b": NAN}]
    whole = sums_of(*steps)
    resumed = FigureSums(torch.device("cpu"))
    resumed.load_state(sums_of(*steps[:5]).state(Alone))
    for step, figures in enumerate(steps[5:], 5):
        resumed.add(step, {name: torch.tensor(value) for name, value in figures.items()})
    assert resumed.line(Alone) == whole.line(Alone)
    assert resumed.line(Alone).missing == {"b": 1}


def test_a_state_is_a_copy():
    sums = sums_of({"a": 1.0})
    state = sums.state(Alone)
    sums.add(1, {"a": torch.tensor(2.0)})
    again = FigureSums(torch.device("cpu"))
    again.load_state(state)
    again.add(1, {"a": torch.tensor(5.0)})
    assert again.line(Alone).means == {"a": 3.0}
    assert state[0]["sums"].tolist() == [[1.0], [1.0]]


def test_a_spoilt_step_of_one_of_several_processes_counts_whole(monkeypatch):
    """The other process has seen nothing but ones."""

    class Both:
        num_processes = 2

    def all_reduce(mine, operation=None):
        if operation is None:
            mine += torch.tensor([[4.0], [4.0]], dtype=mine.dtype)
        else:
            mine.copy_(torch.minimum(mine, torch.tensor([[4.0], [INF]], dtype=mine.dtype)))

    monkeypatch.setattr("attnorm.training.figures.distributed.all_reduce", all_reduce)
    line = sums_of({"a": 1.0}, {"a": NAN}, {"a": NAN}, {"a": NAN}).line(Both)
    assert line == (4, {"a": 1.0}, {"a": 3}, {"a": 1})
