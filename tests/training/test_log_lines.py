"""Which lines of a log hold, in every state that a run leaves it in, and that all who read one agree."""

import json
import math

import pytest
from attnorm.training.journal import Journal
from attnorm.training.log_lines import Lines, parse_line, read_lines

from attnorm.errors import UserError


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log.jsonl"


def write(log, entries, tail=""):
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + tail)


@pytest.mark.parametrize(
    ("steps", "again", "expected"),
    [
        ((10, 20, 30, 40), (20,), {10: 10, 20: -20}),
        ((10, 20, 30), (15, 25), {10: 10, 15: -15, 25: -25}),
        ((10, 20), (10, 20, 30), {10: -10, 20: -20, 30: -30}),
    ],
)
def test_the_later_line_of_a_step_holds_and_what_the_first_attempt_did_beyond_it_is_gone(steps, again, expected, log):
    write(log, [{"step": s, "x": s} for s in steps] + [{"step": s, "x": -s} for s in again])
    found = read_lines(log).by_step
    assert found == {step: {"x": value} for step, value in expected.items()}
    assert list(found) == sorted(found)


def test_null_is_a_figure_that_was_not_finite_and_a_later_one_takes_the_earlier_number_away(log):
    write(log, [{"step": 10, "x": 1.0, "y": 1.0}, {"step": 10, "x": None, "y": 2.0}])
    [figures] = read_lines(log).by_step.values()
    assert math.isnan(figures["x"]) and figures["y"] == 2.0


def test_figures_of_a_step_may_come_one_a_line(log):
    write(log, [{"step": 10, "fd": 9}, {"step": 10, "kid": 1}, {"step": 20, "fd": 8}])
    assert read_lines(log).by_step == {10: {"fd": 9, "kid": 1}, 20: {"fd": 8}}


@pytest.mark.parametrize("tail", ['{"step": 30, "x"', '{"step": 30', "{", '{"step": 30, "x": 3}'])
def test_a_torn_last_line_is_no_line_for_anybody(tail, log):
    write(log, [{"step": 10, "x": 1}, {"step": 20, "x": 2}], tail)
    found = read_lines(log)
    assert found == Lines({10: {"x": 1}, 20: {"x": 2}}, [])
    with Journal(log.parent, start=100, steps=200, batch_size=1, tensorboard=False, speak=True):
        assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [10, 20]


UNREADABLE = [
    b"nonsense",
    b"[1]",
    b"7",
    b'{"x": 5}',
    b'{"step": "?", "x": 1}',
    b'{"step": "3", "x": 1}',
    b'{"step": 3.5, "x": 1}',
    b'{"step": true, "x": 1}',
    b'{"step": 1e999}',
    b'{"step": Infinity, "x": 1}',
    b'{"step": -1, "x": 1}',
    b'{"step": 1' + b"0" * 12 + b'1, "x": 1}',  # more than any run has
    b'{"step": 1' + b"0" * 400 + b"}",
    b'{"step": 1' + b"0" * 5000 + b"}",  # more digits than Python reads
    b'{"step": 3, "x": ' + b"[" * 200 + b"]" * 200 + b"}",
    b'{"step": 3, "x": 1' + b"0" * 400 + b"}",  # more than a float can be
    b'{"step": 3, "x\xff": 1}',
    b"\x00\x80",
    b"[" * 100_000,
]


@pytest.mark.parametrize("line", UNREADABLE, ids=lambda line: repr(line[:24]))
def test_a_line_that_cannot_be_read_is_counted_and_a_resume_drops_it(line, log):
    good = b'{"step": 1, "x": 1}\n'
    log.write_bytes(good + line + b"\n\n" + good)
    assert parse_line(line + b"\n") is None
    assert read_lines(log) == Lines({1: {"x": 1}}, [f"{log}: 1 of 3 lines cannot be read and are left out"])
    with Journal(log.parent, start=100, steps=200, batch_size=1, tensorboard=False, speak=True):
        assert log.read_bytes() == good * 2


def test_only_numbers_are_figures(log):
    text = {"name": "a", "yes": True, "list": [1], "bad": math.nan}
    write(log, [{"step": 1, "time": 5, "x": 1, **text}])
    [figures] = read_lines(log).by_step.values()
    assert set(figures) == {"x", "bad"}
    assert figures["x"] == 1 and math.isnan(figures["bad"])


def test_a_log_that_cannot_be_read_is_a_sentence(log):
    log.mkdir()
    with pytest.raises(UserError, match=r"cannot read .*log\.jsonl \(Is a directory\)"):
        read_lines(log)


@pytest.mark.parametrize("name", ["\\ud800", "a\\u0000b"])
def test_a_line_with_a_name_that_nothing_can_show_is_unreadable(name, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text(f'{{"step": 1, "x": 1}}\n{{"step": 2, "{name}": 1}}\n')
    assert read_lines(log) == Lines({1: {"x": 1}}, [f"{log}: 1 of 2 lines cannot be read and are left out"])
