"""Time and memory against map size, both axes logarithmic: a panel for each pass and quantity, a line a contestant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attnorm.errors import UserError

QUANTITIES = {"median": ("time of a call, ms", 1e3), "memory": ("peak memory beside the inputs, MB", 1.0)}
PANEL = (5.0, 3.6)  # inches
LEGEND = 2.2
# Okabe and Ito's colours, which colour-blind people can tell apart; the line says the kind.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LINES = {"regional_norm": "-", "AttentiveNorm2d": "-", "SelfAttention2d": "--"}


def check_chart(path: Path) -> None:
    """Finds out before the long work whether `save_chart` can draw there.

    Raises:
        UserError: matplotlib is missing, or does not know the kind of file.
    """
    known = _figure()(figsize=PANEL).canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise UserError(f"cannot write {path}: choose a name that ends in .png, .svg or .pdf")


def _figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UserError("a chart needs the package 'matplotlib': pip install matplotlib") from error
    return Figure


def save_chart(report: dict[str, Any], path: Path) -> None:
    """Draws a report of `attnorm.benchmarks.layer.run`; the kind of file follows the name, PNG, SVG or PDF.

    Raises:
        UserError: matplotlib is missing, or the file cannot be written.
    """
    passes = report["setting"]["passes"]
    names = list(dict.fromkeys(figure["name"] for figure in report["figures"]))
    width, height = PANEL[0] * len(passes) + LEGEND, PANEL[1] * len(QUANTITIES)
    drawing = _figure()(figsize=(width, height), layout="constrained")
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
            panel.grid(alpha=0.3)
            panel.set_xlabel("side of the map, pixels")
    handles, labels = panels[0][0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside right upper", frameon=False)
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing.savefig(partial, dpi=150)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def _look(name: str, names: list[str]) -> dict[str, Any]:
    index = names.index(name)
    return {
        "label": name,
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": next((line for kind, line in LINES.items() if name.startswith(kind)), ":"),
        "marker": "os^Dv"[index // len(COLOURS) % 5],
        "markersize": 4,
    }
