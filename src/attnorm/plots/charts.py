"""What all charts share: matplotlib without a display, one look whatever the user's settings, and saving."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attnorm.errors import UserError
from attnorm.files import output_file
from attnorm.plots.extra import from_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
FONT, FONT_SIZE = "DejaVu Sans", 9  # matplotlib brings it along
LOOK = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.titlelocation": "left",
    "font.family": FONT,
    "font.size": FONT_SIZE,
    "grid.color": "0.9",
    "legend.frameon": False,
    "savefig.facecolor": "white",
}


def check_chart_name(path: Path) -> str:
    """The format that a chart's name asks for: png, pdf, svg and so on.

    Raises:
        UserError: charts cannot be written in it, or matplotlib is missing.
    """
    with from_extra("a chart"):
        from matplotlib.backend_bases import FigureCanvasBase
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FigureCanvasBase.filetypes:
        raise UserError(f"{path}: the name of a chart must end in a format such as .png, .svg or .pdf")
    return kind


@contextmanager
def chart(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of this size in inches to draw on, which is written to `path` when the block ends without an error."""
    kind = check_chart_name(path)
    from matplotlib import style
    from matplotlib.figure import Figure  # not pyplot: no state is shared, and no display is looked for

    with style.context(["default", LOOK]):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        yield figure
        with output_file(path) as partial:
            figure.savefig(partial, format=kind)


def set_title(axes: Axes, title: str) -> None:
    """A title in which a dollar sign is one."""
    axes.set_title(title).set_parse_math(False)
