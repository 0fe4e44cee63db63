"""Figures as tables and JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attnorm.errors import UserError
from attnorm.files import output_file


def exponent(pixels: Sequence[float], seconds: Sequence[float]) -> float | None:
    """The slope of log time over log pixels, by least squares; None for fewer than two points."""
    if len(pixels) < 2:
        return None
    return statistics.linear_regression([math.log(p) for p in pixels], [math.log(s) for s in seconds]).slope


def ratio(figure: Mapping[str, Any], base: Mapping[str, Any]) -> float | None:
    """How many times as long a call of one contestant takes as one of another; None where either was not measured.

    Of contestants of the same rounds it is the median over the rounds: what slows the machine down for a while slows
    both down, and so falls out.
    """
    if figure["median"] is None or base["median"] is None:
        return None
    times, others = figure["times"], base["times"]
    if times and len(times) == len(others):
        return statistics.median(a / b for a, b in zip(times, others, strict=True))
    return float(figure["median"] / base["median"])


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A title and a Markdown table with columns as wide as they need to be, the first flush left."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def as_line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0], *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    return "\n".join([title, "", as_line(lines[0]), f"| {' | '.join(rule)} |", *map(as_line, lines[1:])])


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Writes aside and renames.

    Raises:
        UserError: the file cannot be written.
    """
    with output_file(path) as partial:
        partial.write_text(json.dumps(report, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote.

    Raises:
        UserError: the file cannot be read, or is no record of `attnorm bench`.
    """
    try:
        report = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if not isinstance(report, dict) or not {"benchmark", "machine", "figures"} <= report.keys():
        raise UserError(f"{path} is no record of `attnorm bench`: measure again")
    return report
