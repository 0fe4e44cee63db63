"""Learning curves of a table's runs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from attnorm.plots import save_curves
from attnorm.training.logger import read_log
from attnorm.training.run_folder import EVALUATIONS, LOG

MOST_PANELS = 4


def save_run_curves(runs: Mapping[str, Path], path: Path) -> None:
    """Draws the metrics that the runs measured while training, or else their losses; nothing without matplotlib.

    Args:
        runs: run directories by the names of their curves.

    Raises:
        UserError: the chart cannot be written.
    """
    if find_spec("matplotlib") is None:
        return
    measured = any((run / EVALUATIONS).is_file() for run in runs.values())
    file = EVALUATIONS if measured else LOG
    logs = {name: read_log(run / file) for name, run in runs.items() if (run / file).is_file()}
    metrics = dict.fromkeys(metric for log in logs.values() for values in log.values() for metric in values)
    panels = {}
    for metric in [name for name in metrics if measured or name.startswith("loss")][:MOST_PANELS]:
        curves = {
            name: {step: values[metric] for step, values in log.items() if metric in values}
            for name, log in logs.items()
        }
        panels[metric] = {name: (np.array(list(c)), np.array(list(c.values()))) for name, c in curves.items() if c}
    if panels:
        save_curves(panels, path)
