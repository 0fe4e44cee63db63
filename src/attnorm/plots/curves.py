"""Learning curves of several runs: a panel a figure, a colour a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from attnorm.plots.charts import FONT, FONT_SIZE, chart, check_chart_name, set_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind people can tell apart; more runs than colours differ in their line.
RUN_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LINES = ("-", "--", ":", "-.")
MOST_COLUMNS = 3
PANEL = (4.2, 2.7)  # inches
ENTRY = (0.75, 0.2)  # inches of an entry of the legend, without its name
LEAST_SPAN = 0.05
LOG_FROM = 100.0  # figures that are all positive and span more than this factor get a logarithmic scale

Look = dict[str, Any]  # colour and line of a run


class Curve(NamedTuple):
    """steps, values: (k,) in order of the steps. measured: by an evaluation, in few places, and never smoothed."""

    steps: np.ndarray
    values: np.ndarray
    measured: bool = False


def save_curves(runs: Mapping[str, Mapping[str, Curve]], figures: Sequence[str], path: Path, half_life: float) -> None:
    """A panel for each figure, with the curve of each run that has it.

    Args:
        runs: curves by figure, by the run's name.
        figures: the names of the panels, at least one.
        half_life: of the smoothing, in steps; 0 for none. Smoothed curves are thick, on top of what was logged.

    Raises:
        UserError: matplotlib is missing, or the file cannot be written.
    """
    columns = min(MOST_COLUMNS, len(figures))
    rows = -(-len(figures) // columns)
    check_chart_name(path)
    entry = ENTRY[0] + max(map(_inches, runs))
    width = max(PANEL[0] * columns, entry + 0.3)
    entries = max(1, min(len(runs), int(width / entry)))  # of the legend in a row
    height = PANEL[1] * rows + ENTRY[1] * -(-len(runs) // entries) + 0.5
    looks: list[Look] = [
        {"color": RUN_COLOURS[i % len(RUN_COLOURS)], "linestyle": LINES[i // len(RUN_COLOURS) % len(LINES)]}
        for i in range(len(runs))
    ]
    with chart(path, width, height) as drawing:
        panels = drawing.subplots(rows, columns, squeeze=False).ravel()
        for panel in panels[len(figures) :]:
            panel.remove()
        for panel, figure in zip(panels, figures, strict=False):
            shown = [
                (curves[figure], look) for curves, look in zip(runs.values(), looks, strict=True) if figure in curves
            ]
            _draw_panel(panel, figure, shown, half_life)
        _draw_legend(drawing, list(runs), looks, entries)
        if half_life > 0 and any(not c[f].measured for c in runs.values() for f in figures if f in c):
            note = f"thin: as logged; thick: exponential average with a half-life of {half_life:g} steps"
            drawing.supxlabel(note, fontsize=8, color="0.35")


def smoothed(steps: np.ndarray, values: np.ndarray, half_life: float) -> np.ndarray:
    """The average of all values up to each step, the weight of a value halving every `half_life` steps.

    A value that is not finite stays so in its place and counts nowhere else.
    """
    out = np.empty(len(values))
    total = weight = 0.0
    before = steps[0] if len(steps) else 0
    for index, (step, value) in enumerate(zip(steps, values, strict=True)):
        decay = 0.5 ** ((step - before) / half_life)
        total, weight, before = total * decay, weight * decay, step
        if np.isfinite(value):
            total, weight = total + value, weight + 1
        out[index] = total / weight if np.isfinite(value) else value
    return out


def lonely(values: np.ndarray) -> np.ndarray:
    """Which values are finite between two that are not, or that are not there: of those no line would be seen."""
    finite = np.pad(np.isfinite(values), 1)
    return finite[1:-1] & ~finite[:-2] & ~finite[2:]


def wants_log_scale(curves: Sequence[np.ndarray]) -> bool:
    """Whether the finite values of all curves together are positive and span orders of magnitude."""
    values = np.concatenate(list(curves))
    values = values[np.isfinite(values)]
    return len(values) > 0 and bool(values.min() > 0 and values.max() / values.min() > LOG_FROM)


def _draw_panel(panel: Axes, title: str, shown: Sequence[tuple[Curve, Look]], half_life: float) -> None:
    set_title(panel, title)
    for curve, look in shown:
        dots: Look = {"marker": "o", "markersize": 4}
        if curve.measured:
            panel.plot(curve.steps, curve.values, **dots, **look)
            continue
        dots["markevery"] = np.flatnonzero(lonely(curve.values)).tolist()
        if half_life > 0:
            panel.plot(curve.steps, curve.values, linewidth=0.7, alpha=0.35, **look)
            panel.plot(curve.steps, smoothed(curve.steps, curve.values, half_life), linewidth=1.8, **dots, **look)
        else:
            panel.plot(curve.steps, curve.values, linewidth=1.4, **dots, **look)
    if wants_log_scale([curve.values for curve, _ in shown]):
        panel.set_yscale("log")
    else:
        _widen(panel)
    panel.set_xlim(left=0)
    panel.set_xlabel("step")


def _draw_legend(drawing: Figure, names: Sequence[str], looks: Sequence[Look], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linewidth=1.8, **look) for look in looks]
    legend = drawing.legend(handles, names, loc="outside upper center", ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar sign is one


def _inches(name: str) -> float:
    """The width of a name in the legend."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    plain = name.replace("$", "S")  # a dollar sign would begin a formula
    path = TextPath((0, 0), plain, prop=FontProperties(family=FONT, size=FONT_SIZE))
    return float(path.get_extents().width) / 72


def _widen(panel: Axes) -> None:
    """A figure that hardly moves is to look so: the axis spans a share of its height above zero at least."""
    low, high = panel.get_ylim()
    missing = LEAST_SPAN * max(abs(low), abs(high)) - (high - low)
    if missing > 0:
        panel.set_ylim(low - missing / 2, high + missing / 2)
