"""The lines of log.jsonl and metrics.jsonl: which of them hold, and the figures in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from attnorm.errors import UserError

LOG, EVALUATIONS = "log.jsonl", "metrics.jsonl"
BOOKKEEPING = ("step", "time")  # of a line, and no figures


class Line(NamedTuple):
    """The figures of a step by name; None for what is no number, as one that was not finite."""

    step: int
    figures: dict[str, float | None]


class Lines(NamedTuple):
    """by_step: the figures that hold, with their steps in order. total: how many lines. unreadable: how many of those
    cannot be read, a torn last one apart.
    """

    by_step: dict[int, dict[str, float]]
    total: int
    unreadable: int


def parse_line(line: bytes) -> Line | None:
    """What a line says, or None if it cannot be read. One without its end is torn: it is being written at this moment,
    or a crash has cut it short.
    """
    if not line.endswith(b"\n"):
        return None
    try:
        entry = json.loads(line)
        if type(entry["step"]) is not int:
            return None
        figures = {
            name: float(value) if is_figure(value) else None for name, value in entry.items() if name not in BOOKKEEPING
        }
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return Line(entry["step"], figures)


def read_lines(path: Path) -> Lines:
    """What a file of lines says; it may still be written.

    Where a step occurs twice, as in a log that goes on after a resume, the later line holds, and the steps that the
    first attempt had done beyond it are gone. A torn last line is no line yet.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        lines = [line for line in path.read_bytes().splitlines(keepends=True) if line.strip()]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    found: dict[int, dict[str, float | None]] = {}
    unreadable = 0
    for text in lines:
        line = parse_line(text)
        if line is None:
            unreadable += text.endswith(b"\n")
            continue
        while found and next(reversed(found)) > line.step:
            found.popitem()
        found.setdefault(line.step, {}).update(line.figures)  # a step's figures may come in several lines
    by_step = {
        step: {name: value for name, value in figures.items() if value is not None} for step, figures in found.items()
    }
    return Lines(by_step, len(lines), unreadable)


def is_figure(value: object) -> bool:
    """Whether a value of JSON is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
