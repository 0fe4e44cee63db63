"""The statistics of the features inside each region against the whole map (paper, Fig. 4)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attnorm.metrics.regions import RegionSummary
from attnorm.plots.charts import chart, set_title
from attnorm.plots.colours import entity_colours


def save_region_chart(summary: RegionSummary, path: Path, title: str) -> None:
    """Two panels over the entities: the deviation inside their regions, and their means; the whole map as a line.

    Raises:
        UserError: matplotlib is missing, or the file cannot be written.
    """
    count = len(summary.argmax.share)
    entities, colours = np.arange(count), entity_colours(count) / 255
    hard, soft = summary.argmax, summary.weighted
    from matplotlib.patches import Patch

    with chart(path, max(6.0, 0.42 * count + 1.5), 5.2) as figure:
        spread, centre = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        spread.bar(entities, hard.std.numpy(), color=colours, edgecolor="0.2", linewidth=0.5)
        spread.axhline(summary.std, color="0.3", linestyle="--")
        spread.plot(entities, soft.std.numpy(), "o", color="black", markerfacecolor="white")
        whole, dots = spread.lines
        spread.set_ylabel("standard deviation")
        spread.set_ylim(bottom=0)
        centre.axhspan(summary.mean - summary.std, summary.mean + summary.std, color="0.92", zorder=0)
        centre.axhline(summary.mean, color="0.3", linestyle="--")
        centre.errorbar(entities, hard.mean.numpy(), hard.std.numpy(), fmt="none", ecolor="0.4", capsize=2)
        centre.scatter(entities, hard.mean.numpy(), c=colours, edgecolors="0.2", linewidths=0.5, zorder=3)
        centre.set_ylabel("mean ± deviation")
        centre.set_xlabel("entity, with its share of all pixels")
        shares = [f"{entity}\n{share:.0%}" for entity, share in enumerate(hard.share.tolist())]
        centre.set_xticks(entities, shares)
        for panel in (spread, centre):
            panel.grid(axis="x", visible=False)
        set_title(spread, title)
        bars = Patch(facecolor="0.75", edgecolor="0.2", linewidth=0.5)
        names = ["inside the region (argmax)", "inside the region (weighted)", "whole map"]
        figure.legend([bars, dots, whole], names, loc="outside upper center", ncols=3)
