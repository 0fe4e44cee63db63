"""Figures as charts: lines over the map size, both axes logarithmic, and bars side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnorm.plots.charts import chart, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUANTITIES = {"median": ("time of a call, ms", 1e3), "memory": ("peak memory beside the inputs, MB", 1.0)}
PANEL = (5.0, 3.6)  # inches
LEGEND = 2.2
BAR, MARGIN = 0.16, 0.9  # inches of height: of a bar, and around the bars of a panel
# Okabe and Ito's colours, which colour-blind people can tell apart; the line says the kind.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LINES = {"regional_norm": "-", "AttentiveNorm2d": "-", "SelfAttention2d": "--"}

Bars = Mapping[str, Mapping[str, Mapping[str, float | None]]]  # title of a panel, group, name of a bar: its length


def save_lines(report: dict[str, Any], path: Path) -> None:
    """Draws a report of `attnorm.benchmarks.layer.run`: a panel for each pass and quantity, a line a contestant.

    Raises:
        UserError: matplotlib is missing, the kind of file is unknown, or the file cannot be written.
    """
    passes = report["setting"]["passes"]
    names = list(dict.fromkeys(figure["name"] for figure in report["figures"]))
    width, height = PANEL[0] * len(passes) + LEGEND, PANEL[1] * len(QUANTITIES)
    with chart(path, width, height) as drawing:
        panels = drawing.subplots(len(QUANTITIES), len(passes), squeeze=False, sharex=True)
        for row, (quantity, (label, scale)) in zip(panels, QUANTITIES.items(), strict=True):
            for panel, which in zip(row, passes, strict=True):
                for name in names:
                    points = [
                        (figure["size"], scale * figure[quantity])
                        for figure in report["figures"]
                        if figure["name"] == name and figure["pass"] == which and figure[quantity]
                    ]
                    if points:
                        panel.plot(*zip(*points, strict=True), **_look(name, names))
                sizes = report["setting"]["sizes"]
                panel.set(xscale="log", yscale="log", title=f"{which}: {label}")
                panel.set_xticks(sizes, [str(size) for size in sizes], minor=False)
                panel.set_xticks([], minor=True)
                panel.set_xlabel("side of the map, pixels")
        handles, labels = panels[0][0].get_legend_handles_labels()
        drawing.legend(handles, labels, loc="outside right upper")


def save_bars(bars: Bars, path: Path) -> None:
    """A panel for each title, one below the other, with a bar for each name in each group and its length written on it.

    Raises:
        UserError: matplotlib is missing, the kind of file is unknown, or the file cannot be written.
    """
    names = list(dict.fromkeys(name for groups in bars.values() for group in groups.values() for name in group))
    rows = [sum(len(group) + 1 for group in groups.values()) for groups in bars.values()]
    with chart(path, PANEL[0] + LEGEND, sum(BAR * count + MARGIN for count in rows)) as drawing:
        panels = drawing.subplots(len(bars), 1, squeeze=False, height_ratios=rows)
        for panel, (title, groups) in zip(panels[:, 0], bars.items(), strict=True):
            _draw_bars(panel, groups, names)
            set_title(panel, title)
        found: dict[str, Any] = {}
        for panel in panels[:, 0]:
            handles, labels = panel.get_legend_handles_labels()
            found |= dict(zip(labels, handles, strict=True))
        drawing.legend([found[name] for name in names], names, loc="outside right upper")


def _draw_bars(panel: Axes, groups: Mapping[str, Mapping[str, float | None]], names: list[str]) -> None:
    place, ticks = 0.0, []
    seen: set[str] = set()
    for group in groups.values():
        ticks.append(place + (len(group) - 1) / 2)
        for name, length in group.items():
            label = "_" if name in seen else name  # matplotlib leaves names that begin so out of the legend
            drawn = panel.barh(place, length or 0, 0.9, color=COLOURS[names.index(name) % len(COLOURS)], label=label)
            panel.bar_label(drawn, ["not measured" if length is None else f"{length:.3g}"], padding=3, fontsize=7)
            seen.add(name)
            place += 1
        place += 1
    panel.set_yticks(ticks, list(groups))
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    panel.margins(x=0.12)


def _look(name: str, names: list[str]) -> dict[str, Any]:
    index = names.index(name)
    return {
        "label": name,
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": next((line for kind, line in LINES.items() if name.startswith(kind)), ":"),
        "marker": "os^Dv"[index // len(COLOURS) % 5],
        "markersize": 4,
    }
