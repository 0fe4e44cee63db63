"""Reading what a run recorded: its log, and the evaluations of its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from attnorm.errors import UserError
from attnorm.json_records import check_texts, figure_of, is_step, read_json
from attnorm.metrics.inpainting_record import read_record
from attnorm.training.log_lines import EVALUATIONS, LOG, read_lines

RECORDS = "metrics"

# What of an evaluation's protocol makes its figures another measurement. Its metric's name says the network and the
# number of pictures; the model and the data are the run's.
PROTOCOL = ("split", "num_real", "frequencies", "weights", "seed", "window", "size")

Figure = dict[int, float]  # values by step


class Record(NamedTuple):
    """One figure of one evaluation. protocol: what PROTOCOL names, in its order; None for what the record lacks."""

    date: str
    name: str
    step: int | None
    value: float
    protocol: tuple[Any, ...]


@dataclass
class History:
    """A run's figures.

    log: from log.jsonl. metrics: from metrics.jsonl. records: of `attnorm evaluate` in metrics/, the oldest first.
    skipped: a sentence for every kind of thing that was left out, with its count.
    """

    log: dict[str, Figure] = field(default_factory=dict)
    metrics: dict[str, Figure] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def read_history(run: Path) -> History:
    """Everything that `run` recorded so far; it may still be training. `read_lines` says which lines hold.

    Raises:
        UserError: the run has no log, or one that cannot be read or has no figures yet.
    """
    path = run / LOG
    if not path.is_file():
        raise UserError(f"{run} has no {LOG}: give the folder of a run")
    history = History()
    history.log = _figures(path, history.skipped)
    if not history.log:
        raise UserError(f"{path} has no figures yet: wait for the run's first record, or leave it out")
    if (run / EVALUATIONS).is_file():
        history.metrics = _figures(run / EVALUATIONS, history.skipped)
    history.records = _read_records(run / RECORDS, history.skipped)
    return history


def measured_figures(histories: Sequence[History]) -> list[dict[str, Figure]]:
    """The metrics of each run by name. Figures of one name that were measured in different ways, in one run or in
    several, get names that say the difference: they do not compare.
    """
    protocols: dict[str, set[tuple[Any, ...]]] = {}
    for history in histories:
        for record in history.records:
            protocols.setdefault(record.name, set()).add(record.protocol)
    found = []
    for history in histories:
        figures = {name: dict(figure) for name, figure in history.metrics.items()}
        for record in history.records:
            if record.step is not None:
                name = _full_name(record, protocols[record.name])
                figures.setdefault(name, {})[record.step] = record.value  # the latest of a step holds
        found.append(figures)
    return found


def as_arrays(figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    """A figure's steps in order (k,) int64 and its values (k,) float64."""
    steps = sorted(figure)
    return np.array(steps, np.int64), np.array([figure[step] for step in steps], np.float64)


def _figures(path: Path, skipped: list[str]) -> dict[str, Figure]:
    lines, figures = read_lines(path), dict[str, Figure]()
    for step, values in lines.by_step.items():
        for name, value in values.items():
            figures.setdefault(name, {})[step] = value
    skipped += lines.complaints
    return figures


def _read_records(folder: Path, skipped: list[str]) -> list[Record]:
    records, strange = list[Record](), 0
    for path in sorted(folder.glob("*.json")):
        try:
            found = read_json(path)
            check_texts(found)
            if isinstance(found, dict):
                records += _of_inpainting(path, found)
            else:
                records += [record for entry in found for record in _records_of(entry)]
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror or error})") from error
        except (UserError, ValueError, KeyError, TypeError, AttributeError):
            strange += 1
    if strange:
        skipped.append(f"{folder}: {strange} file(s) hold no records of attnorm evaluate and are left out")
    stepless = sum(record.step is None for record in records)
    if stepless:
        skipped.append(f"{folder}: {stepless} figure(s) say no step of training and are left out")
    return sorted(records, key=lambda record: record.date)


def _of_inpainting(path: Path, entry: dict[str, Any]) -> list[Record]:
    """The mean figures of an inpainting evaluation under WAY.HOLES.FIGURE, as in metrics.jsonl, with the number of
    pictures; and the distances of its refined composites.
    """
    record = read_record(path)
    p = record.protocol
    step, settings = _step(p.step), tuple(getattr(p, name, None) for name in PROTOCOL)
    means = [
        Record(record.date, f"{way}.{kind}.{name}-{p.num}", step, spread.mean, settings)
        for kind, ways in record.figures.items()
        for way, figures in ways.items()
        for name, spread in figures.items()
    ]
    distances = [
        one._replace(name=f"refined.{kind}.{one.name}")
        for kind, results in entry["distances"].items()
        for result in results
        for one in _records_of(result)
    ]
    return means + distances


def _records_of(entry: dict[str, Any]) -> list[Record]:
    """The figures of an entry: the main one bears the metric's name, the others theirs behind it."""
    protocol, date = entry["protocol"], str(entry.get("date", ""))
    step, settings = _step(protocol.get("step")), tuple(protocol.get(name) for name in PROTOCOL)
    hash(settings)  # a TypeError of a list among them; figures are told apart by them
    return [
        Record(date, entry["metric"] + (f" {name}" if number else ""), step, figure_of(value), settings)
        for number, (name, value) in enumerate(entry["values"].items())
    ]


def _step(step: object) -> int | None:
    if step is not None and not is_step(step):
        raise ValueError(f"{step!r} is no step")
    return cast("int | None", step)


def _full_name(record: Record, protocols: set[tuple[Any, ...]]) -> str:
    """The figure's name and, of its protocol, what is not the same in all of `protocols`."""
    differing = (len(set(settings)) > 1 for settings in zip(*protocols, strict=True))
    said = [
        f"{name} {value}" for name, value, differs in zip(PROTOCOL, record.protocol, differing, strict=True) if differs
    ]
    return ", ".join([record.name, *said])
