"""Charts with matplotlib: curves over training steps, and the statistics of regions (paper, Fig. 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attnorm.errors import UserError
from attnorm.files import output_file
from attnorm.plots.layouts import entity_colours
from attnorm.plots.saving import require_package

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL = (4.2, 2.7)  # inches
STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "0.9",
    "legend.frameon": False,
    "text.parse_math": False,  # names may contain dollar signs
}
Curve = tuple[np.ndarray, np.ndarray]  # steps (k,), values (k,)


def check_chart_name(path: Path) -> str:
    """Returns the format of a chart's file name; raises a UserError if it is unknown or matplotlib is missing."""
    require_package("matplotlib", "a chart")
    from matplotlib.backend_bases import FigureCanvasBase

    kind = path.suffix.lower().removeprefix(".")
    if kind not in FigureCanvasBase.filetypes:
        raise UserError(f"{path}: the name of a chart must end in a format such as .png, .svg or .pdf")
    return kind


@contextmanager
def chart(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of this size in inches that is written to `path` when the block ends without an error."""
    kind = check_chart_name(path)
    from matplotlib import style
    from matplotlib.figure import Figure  # not pyplot: no shared state, no display

    with style.context(["default", STYLE]):
        figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
        yield figure
        with output_file(path) as partial:
            figure.savefig(partial, format=kind)


def save_curves(panels: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """Draws one panel per metric with one curve per run; `panels` has the curves by run, by metric."""
    with chart(path, PANEL[0] * len(panels), PANEL[1]) as figure:
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (metric, curves) in zip(row, panels.items(), strict=True):
            for name, (steps, values) in curves.items():
                axes.plot(steps, values, label=name)
            axes.set(title=metric, xlabel="step")
            axes.legend()


def save_region_chart(regions: Any, path: Path, title: str) -> None:
    """Draws standard deviation and mean of the features inside each region; `regions` are `RegionStatistics`."""
    share, mean, std = (t.numpy() for t in (regions.share, regions.mean, regions.std))
    entities, colours = np.arange(len(share)), entity_colours(len(share)) / 255
    with chart(path, max(6.0, 0.42 * len(share) + 1.5), 5.2) as figure:
        spread, centre = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        spread.bar(entities, std, color=colours, edgecolor="0.2", label="inside the region")
        spread.axhline(regions.map_std, color="0.3", linestyle="--", label="whole map")
        spread.set(title=title, ylabel="standard deviation", ylim=(0, None))
        centre.errorbar(entities, mean, std, fmt="o", color="0.3", capsize=2)
        centre.axhline(regions.map_mean, color="0.3", linestyle="--")
        centre.set(ylabel="mean ± deviation", xlabel="entity, with its share of all pixels")
        centre.set_xticks(entities, [f"{entity}\n{part:.0%}" for entity, part in enumerate(share)])
        figure.legend(loc="outside upper center", ncols=2)
