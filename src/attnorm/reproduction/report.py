"""The report of a table: our results beside the paper's in Markdown, what differs, and curves of the runs."""

import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from attnorm import errors
from attnorm.config import differences
from attnorm.files import output_file
from attnorm.plots.saving import Curve, save_curves
from attnorm.presets import get_preset
from attnorm.reproduction.paper import CLASSES
from attnorm.reproduction.runs import Reproduction
from attnorm.training.logger import read_log
from attnorm.training.run_folder import EVALUATIONS, LOG

# Fields that do not change the result of a training; nor do those that end in _every.
IMMATERIAL = ("data", "val_data", "seed", "device", "keep_checkpoints")
MISSING = "–"


def save_report(plan: Reproduction) -> Path:
    """Writes TABLE.md and TABLE-curves.png to the folder of the runs; returns the path of TABLE.md."""
    path = plan.out / f"{plan.table}.md"
    with output_file(path) as partial:
        partial.write_text(report(plan), encoding="utf-8")
    save_run_curves([run for _, _, run in plan.runs()], plan.out / f"{plan.table}-curves.png")
    return path


def report(plan: Reproduction) -> str:
    """The table with the results so far, how they differ from the paper's, and the commands."""
    lines = [f"# {plan.paper.title}, at scale {plan.scale}", "", errors.table(rows(plan), markdown=True), ""]
    lines += ["Mean ± standard deviation over seeds. docs/decisions.md lists choices that are not options.", ""]
    if differing := differences_from_paper(plan):
        lines += ["**Do not compare our numbers with the paper's.** What differs:", "", *differing]
    else:
        lines += ["Data, options and protocol are the paper's, as far as the paper and its sources state them."]
    lines += ["", "## Commands", ""]
    for run in plan.runs():
        lines += [f"    attnorm {shlex.join(one)}" for one in (plan.train_command(*run), plan.evaluate_command(run[2]))]
    return "\n".join([*lines, ""])


def rows(plan: Reproduction) -> list[list[str]]:
    """The header and rows of the table: a row per system, or per class in Table 2."""
    found: dict[str, list[dict[str, float]]] = {system: [] for system in plan.paper.rows}
    for system, seed, run in plan.runs():
        values = plan.values(system, seed, run)
        found[system] += [] if values is None else [values]
    names = list(next((runs[0] for runs in found.values() if runs), {}))
    if plan.table == "table2":
        systems = [name for name, *_ in plan.paper.rows.values()]
        table = [["class", *(f"{name}, paper" for name in systems), *(f"{name}, ours" for name in systems)]]
        printed = CLASSES.values() if plan.scale == "paper" else [("", None, None, None)] * len(names)
        for name, (_, *paper) in zip(names, printed, strict=False):
            table.append([name, *_printed(paper), *(_mean([one[name] for one in runs]) for runs in found.values())])
        return table
    columns = names or list(plan.paper.metrics)
    table = [["system", *(f"{column}, paper" for column in plan.paper.metrics.values()), *columns, "seeds"]]
    for system, (name, *paper) in plan.paper.rows.items():
        means = [_mean([one[column] for one in found[system]]) for column in columns]
        table.append([name, *_printed(paper), *means, f"{len(found[system])} of {len(plan.seeds)}"])
    return table


def differences_from_paper(plan: Reproduction) -> list[str]:
    """Data, protocol and fields of the presets that are not the paper's; none if the numbers may be compared."""
    lines = [f"- data: `{plan.data}` instead of the paper's"] if plan.scale != "paper" else []
    ours, theirs = plan.options(), plan.options("paper")
    for name in ours | theirs:
        if ours.get(name) != theirs.get(name):
            lines.append(f"- `evaluate --{name}`: {ours.get(name, 'default')} instead of {theirs.get(name, 'default')}")
    systems: dict[str, list[str]] = {}
    for system, (title, *_) in plan.paper.rows.items():
        paper = get_preset(f"{system}-{plan.paper.scales['paper'].presets}")
        for name, value, other in differences(plan.config(system, 0), paper):
            if name not in IMMATERIAL and not name.endswith("_every"):
                systems.setdefault(f"`{name}`: {value} instead of {other}", []).append(title)
    for line, names in systems.items():
        lines.append(f"- {line}" + ("" if len(names) == len(plan.paper.rows) else f" ({'; '.join(names)})"))
    return lines


def save_run_curves(runs: Sequence[Path], path: Path) -> None:
    """Draws the metrics that the runs computed in training, else their losses; does nothing without matplotlib."""
    file = EVALUATIONS if any((run / EVALUATIONS).is_file() for run in runs) else LOG
    panels: dict[str, dict[str, Curve]] = {}
    for run in (run for run in runs if (run / file).is_file()):
        log = read_log(run / file)
        for metric in dict.fromkeys(metric for values in log.values() for metric in values):
            if file == EVALUATIONS or metric.startswith("loss"):
                steps, values = zip(*((step, log[step][metric]) for step in log if metric in log[step]), strict=True)
                panels.setdefault(metric, {})[run.name] = np.array(steps), np.array(values)
    if panels and find_spec("matplotlib") is not None:
        save_curves(dict(list(panels.items())[:4]), path)  # more would be too small to read


def _printed(numbers: Sequence[Any]) -> list[str]:
    return [MISSING if number is None else f"{number:g}" for number in numbers]


def _mean(values: Sequence[float]) -> str:
    """Mean and sample standard deviation over the seeds that have a result."""
    if len(values) < 2:
        return f"{values[0]:.4g}" if values else MISSING
    with np.errstate(invalid="ignore"):  # infinite values have no standard deviation
        return f"{np.mean(values):.4g} ± {np.std(values, ddof=1):.2g}"
