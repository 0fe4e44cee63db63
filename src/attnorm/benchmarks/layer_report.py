"""Table 5 in words: time with its ratio to instance norm, memory, and why something is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attnorm.benchmarks.machine import describe_machine
from attnorm.benchmarks.report import ratio, table

BASE = "instance_norm"  # what every time is divided by


def as_text(report: dict[str, Any]) -> str:
    """A report of `attnorm.benchmarks.layer.run` as tables."""
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
        times = None if base is None else ratio(figure, base)
        return f"{1e3 * figure['median']:.2f}" + ("" if times is None else f" ({times:.2f}x)")

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
