"""The lines of log.jsonl and metrics.jsonl: which of them hold, and the figures in them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from attnorm.errors import UserError
from attnorm.files import check_regular
from attnorm.json_records import check_texts, figure_of, is_figure, is_step, parse_json

LOG, EVALUATIONS = "log.jsonl", "metrics.jsonl"
BOOKKEEPING = ("step", "time")  # of a line, and no figures


class Line(NamedTuple):
    """The figures of a step by name; NaN for null, which is written for those that are not finite."""

    step: int
    figures: dict[str, float]


class Lines(NamedTuple):
    """by_step: the figures that hold, NaN among them, with their steps in order. complaints: a sentence if there are
    lines that cannot be read, a torn last one apart, with their number.
    """

    by_step: dict[int, dict[str, float]]
    complaints: list[str]


def parse_line(line: bytes) -> Line | None:
    """What a line says, or None if it cannot be read. One without its end is torn: it is being written at this moment,
    or a crash has cut it short.
    """
    if not line.endswith(b"\n"):
        return None
    try:
        entry = parse_json(line)
        check_texts(list(entry) if isinstance(entry, dict) else [])  # a chart cannot be labelled with half a character
    except ValueError:
        return None
    if not isinstance(entry, dict) or not is_step(entry.get("step")):
        return None
    return Line(entry["step"], {name: figure_of(value) for name, value in entry.items() if _is_of_a_step(name, value)})


def read_lines(path: Path) -> Lines:
    """What a file of lines says; it may still be written.

    Where a step occurs twice, as in a log that goes on after a resume, the later line holds, and the steps that the
    first attempt had done beyond it are gone. A torn last line is no line yet.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        check_regular(path)
        lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.strip()]
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from error
    found: dict[int, dict[str, float]] = {}
    unreadable = 0
    for text in lines:
        line = parse_line(text)
        if line is None:
            unreadable += text.endswith(b"\n")
            continue
        while found and next(reversed(found)) > line.step:
            found.popitem()
        found.setdefault(line.step, {}).update(line.figures)  # a step's figures may come in several lines
    complaints = [f"{path}: {unreadable} of {len(lines)} lines cannot be read and are left out"] if unreadable else []
    return Lines(found, complaints)


def _is_of_a_step(name: str, value: object) -> bool:
    return name not in BOOKKEEPING and (value is None or is_figure(value))
