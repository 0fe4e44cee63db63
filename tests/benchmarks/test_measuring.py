"""Time, memory, and the order in which contestants take turns."""

from __future__ import annotations

import itertools

import pytest
import torch

from attnorm.benchmarks import measuring
from attnorm.benchmarks.machine import describe_machine, machine
from attnorm.benchmarks.measuring import Contestant, measure, peak_memory
from attnorm.benchmarks.report import exponent, ratio, read_json, table, write_json
from attnorm.errors import UserError

CPU = torch.device("cpu")


class Clock:
    """Time that passes only in calls."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    def contestant(self, name: str, *seconds: float) -> Contestant:
        """One whose calls take so long, over and over."""
        durations = itertools.cycle(seconds)

        def call() -> None:
            self.calls.append(name)
            self.now += next(durations)

        return Contestant(name, call)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(measuring, "time", found)
    return found


def test_contestants_take_turns_and_the_median_is_theirs(clock: Clock) -> None:
    slow = clock.contestant("slow", 0.5, 0.5, 0.1, 0.3, 0.9)  # the first two warm up
    found = measure([slow, clock.contestant("quick", 0.01)], rounds=3, limit=1, device=CPU)
    assert found[0].median == pytest.approx(0.3)
    assert found[0].quartiles == pytest.approx((0.1, 0.9))
    assert found[1].median == pytest.approx(0.01)
    assert [(figure.samples, figure.calls_per_sample) for figure in found] == [(3, 1), (3, 2)]
    assert clock.calls[4:-2] == ["slow", "quick", "quick"] * 3  # then one of each for its memory


def test_a_call_over_the_limit_is_not_made_again_and_one_that_would_be_is_not_made(clock: Clock) -> None:
    contestants = [clock.contestant("slow", 7.0), clock.contestant("slower", 51.0), clock.contestant("hopeless", 60.0)]
    found = measure(contestants, rounds=5, limit=5, device=CPU, expected={"slow": 0.1, "hopeless": 60.0})
    assert clock.calls == ["slow", "slow", "slower"]  # the first call of one not far over it may have built something
    assert [(figure.samples, figure.median) for figure in found[:2]] == [(1, 7.0), (1, 51.0)]
    assert found[2].median is None
    assert found[2].skipped == "would take about 60 s a call"


def test_a_first_call_that_builds_what_it_needs_does_not_count(clock: Clock) -> None:
    found = measure([clock.contestant("builds", 7.0, 0.5, 0.5, 0.5)], rounds=2, limit=5, device=CPU)
    assert found[0].median == pytest.approx(0.5)


def test_what_does_not_fit_in_memory_is_left_out_with_its_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "free_memory", lambda device: 1000 << 20)
    giant = Contestant("giant", lambda: pytest.fail("called"), bytes_needed=801 << 20)
    small = Contestant("small", lambda: None, bytes_needed=799 << 20)
    found = measure([giant, small], rounds=1, limit=1, device=CPU)
    assert found[0].skipped == "needs 801 MB, of 1,000 free"
    assert found[1].skipped is None


def test_peak_memory_counts_the_result_and_what_was_freed_on_the_way() -> None:
    def call() -> torch.Tensor:
        larger = torch.ones(48 << 18)  # 48 MB of float32
        return larger[: 16 << 18] + 1

    found = peak_memory(call, CPU)
    if found is None:
        pytest.skip("this system does not tell the peak")
    assert 61 < found < 80  # the allocator takes some more


def test_free_memory_is_some_of_what_there_is() -> None:
    found = measuring.free_memory(CPU)
    assert found is None or 1 << 20 < found < 1 << 50


def test_the_machine_names_what_a_figure_depends_on() -> None:
    found = machine(CPU)
    assert {"processor", "threads", "torch", "attnorm", "python", "system", "date", "load_at_start"} <= found.keys()
    assert found["torch"] in describe_machine(found)
    assert "1 thread," in describe_machine({**found, "threads": 1})


def test_exponents_are_slopes() -> None:
    sizes = [16.0, 64.0, 256.0]
    assert exponent(sizes, [3 * s**1.5 for s in sizes]) == pytest.approx(1.5)
    assert exponent(sizes[:1], [1.0]) is None


def test_a_ratio_is_the_median_over_rounds_that_both_were_in() -> None:
    ours, base = {"median": 3.0, "times": [2.0, 30.0, 3.0]}, {"median": 1.0, "times": [1.0, 10.0, 1.0]}
    assert ratio(ours, base) == 3.0
    assert ratio(ours, {"median": 2.0, "times": ()}) == 1.5
    assert ratio(ours, {"median": None, "times": ()}) is None


def test_a_record_is_read_as_it_was_written(tmp_path) -> None:
    report = {"benchmark": "layer", "machine": {"torch": "2"}, "figures": [{"median": 0.1}]}
    write_json(tmp_path / "new" / "a.json", report)
    assert read_json(tmp_path / "new" / "a.json") == report
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


@pytest.mark.parametrize("text", [None, "{", '{"figures": []}', "[]"])
def test_what_is_no_record_is_the_users_error(tmp_path, text: str | None) -> None:
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"a\.json"):
        read_json(path)


def test_tables_are_flush() -> None:
    assert table("title", ["", "a"], [["x", "1.00"], ["longer", "2"]]).splitlines() == [
        "title",
        "",
        "|        |    a |",
        "| ------ | ---: |",
        "| x      | 1.00 |",
        "| longer |    2 |",
    ]


def test_a_report_that_cannot_be_written_is_the_users_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_json(tmp_path / "file" / "report.json", {})
