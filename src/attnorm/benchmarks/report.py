"""Figures as tables and JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attnorm.benchmarks.machine import describe_machine
from attnorm.errors import UserError

BASE = "instance_norm"  # what every time is divided by


def exponent(pixels: Sequence[float], seconds: Sequence[float]) -> float | None:
    """The slope of log time over log pixels, by least squares; None for fewer than two points."""
    if len(pixels) < 2:
        return None
    return statistics.linear_regression([math.log(p) for p in pixels], [math.log(s) for s in seconds]).slope


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as they need to be, the first flush left."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def as_line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()

    return "\n".join([title, *map(as_line, lines)])


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Writes aside and renames.

    Raises:
        UserError: the file cannot be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(report, indent=1) + "\n")
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def as_text(report: dict[str, Any]) -> str:
    """The report as tables: time with its ratio to instance norm, memory, and why something is missing."""
    setting = report["setting"]
    shape = f"{setting['batch']} x {setting['channels']} channels, {setting['entities']} entities, {setting['dtype']}"
    order = "channels-last" if setting["channels_last"] else "NCHW"
    parts = [f"{describe_machine(report['machine'])}\n{shape}, {order}; median of {setting['rounds']} rounds"]
    for which in setting["passes"]:
        parts += [_time_table(report, which), _memory_table(report, which)]
    reasons = [
        f"  {f['name']}, {f['size']} x {f['size']}, {f['pass']}: {f['skipped']}"
        for f in report["figures"]
        if f["skipped"]
    ]
    if reasons:
        parts.append("\n".join(["not measured:", *reasons]))
    return "\n\n".join(parts)


def _time_table(report: dict[str, Any], which: str) -> str:
    def cell(figure: dict[str, Any], base: dict[str, Any] | None) -> str:
        if figure["median"] is None:
            return "–"
        ratio = "" if base is None or base["median"] is None else f" ({figure['median'] / base['median']:.2f}x)"
        return f"{1e3 * figure['median']:.2f}{ratio}"

    title = f"{which}: ms a call (times {BASE}); the exponent of time in pixels"
    return _table(report, which, title, cell, report["exponents"][which])


def _memory_table(report: dict[str, Any], which: str) -> str:
    def cell(figure: dict[str, Any], _: dict[str, Any] | None) -> str:
        return "–" if figure["memory"] is None else f"{figure['memory']:.1f}"

    return _table(report, which, f"{which}: peak memory beside the inputs, MB", cell, None)


def _table(
    report: dict[str, Any],
    which: str,
    title: str,
    cell: Callable[[dict[str, Any], dict[str, Any] | None], str],
    last: dict[str, float | None] | None,
) -> str:
    found = {(f["name"], f["size"]): f for f in report["figures"] if f["pass"] == which}
    sizes = sorted({size for _, size in found})
    names: Sequence[str] = list(dict.fromkeys(name for name, _ in found))
    rows = []
    for name in names:
        cells = [cell(found[name, size], found.get((BASE, size))) if (name, size) in found else "–" for size in sizes]
        if last is not None:
            slope = last.get(name)
            cells.append("–" if slope is None else f"{slope:.2f}")
        rows.append([name, *cells])
    return table(title, ["", *(f"{size} x {size}" for size in sizes), *([] if last is None else ["exponent"])], rows)
