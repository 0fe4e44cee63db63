"""The metrics between two lines of a log."""

import math

import pytest
import torch
from torch import distributed

from attnorm.metrics.distributed import Processes
from attnorm.training.running_metrics import RunningMetrics
from tests.runs import ALONE

NAN, INF = math.nan, math.inf


def running(*steps, first=0, processes=ALONE, state=()):
    found = RunningMetrics(processes)
    found.load_state(state)
    for step, metrics in enumerate(steps, first):
        found.add(step, {name: torch.tensor(value) for name, value in metrics.items()})
    return found


def test_means_are_over_the_steps_that_had_the_metric_until_the_line_is_cleared():
    metrics = running({"a": 1.0, "b": 4.0}, {"a": 3.0}, {"a": 5.0, "b": 8.0})
    assert metrics.line() == metrics.line() == ({"a": 3.0, "b": 6.0}, {})
    metrics.clear()
    assert metrics.line() == ({}, {})


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_the_first_step_that_is_not_finite_is_known(value):
    line = running({"a": 1.0, "b": value}, {"a": value, "b": value}, {"a": 3.0, "b": 1.0}, first=10).line()
    assert line.not_finite == {"a": 11, "b": 10}
    assert not math.isfinite(line.means["a"])


@pytest.mark.promise
def test_sums_go_on_from_a_copied_state_bit_for_bit():
    steps = [{"a": 0.1 * index} for index in range(9)] + [{"a": 0.7, "b": 2.0}]
    first = running(*steps[:5])
    state = first.state()
    first.add(5, {"a": torch.tensor(100.0)})  # does not reach the state
    resumed = running(*steps[5:], first=5, state=state)
    assert resumed.line() == running(*steps).line()


def test_lines_are_over_all_processes(monkeypatch):
    """The other process has had 3 in each of the two steps, and NaN in step 1."""

    def all_reduce(mine, operation):
        if operation == distributed.ReduceOp.SUM:
            mine += 6
        else:
            mine.clamp_(max=1)

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    both = Processes(torch.device("cpu"), 0, 2)
    assert running({"a": 1.0}, {"a": 1.0}, processes=both).line() == ({"a": 2.0}, {"a": 1})
