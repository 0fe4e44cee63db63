"""Reading what a run recorded: its log, and the evaluations of its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attnorm.errors import UserError

LOG, EVALUATIONS, RECORDS = "log.jsonl", "metrics.jsonl", "metrics"
BOOKKEEPING = ("step", "time")  # of a line, and no figures


@dataclass
class History:
    """A run's figures, each by step.

    log: from log.jsonl. metrics: from metrics.jsonl and the records of `attnorm evaluate` in metrics/.
    skipped: a sentence for every kind of thing that was left out, with its count.
    """

    log: dict[str, dict[int, float]] = field(default_factory=dict)
    metrics: dict[str, dict[int, float]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def read_history(run: Path) -> History:
    """Everything that `run` recorded so far; it may still be training.

    Where a step occurs twice, as in a log that goes on after a resume, the later line holds, and so it does for the
    steps that the first attempt had done beyond it. The last line may be torn.

    Raises:
        UserError: the run has no log, or one that cannot be read or has no figures yet.
    """
    path = run / LOG
    if not path.is_file():
        raise UserError(f"{run} has no {LOG}: give the folder of a run")
    history = History()
    history.log = _read_lines(path, history.skipped)
    if not history.log:
        raise UserError(f"{path} has no figures yet: wait for the run's first record, or leave it out")
    if (run / EVALUATIONS).is_file():
        history.metrics = _read_lines(run / EVALUATIONS, history.skipped)
    for name, step, value in _read_records(run / RECORDS, history.skipped):
        history.metrics.setdefault(name, {})[step] = value
    return history


def as_arrays(figure: dict[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """A figure's steps in order (k,) int64 and its values (k,) float64."""
    steps = sorted(figure)
    return np.array(steps, np.int64), np.array([figure[step] for step in steps], np.float64)


def _read_lines(path: Path, skipped: list[str]) -> dict[str, dict[int, float]]:
    figures: dict[str, dict[int, float]] = {}
    lines, bad = [line for line in _text(path).splitlines(keepends=True) if line.strip()], 0
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            step = int(entry["step"])
        except (ValueError, KeyError, TypeError, OverflowError):
            torn = number == len(lines) and not line.endswith("\n")  # being written at this moment
            bad += 0 if torn else 1
            continue
        for name, value in entry.items():
            if name not in BOOKKEEPING and _is_figure(value):
                known = figures.setdefault(name, {})
                if known and step <= next(reversed(known)):
                    for later in [old for old in known if old >= step]:
                        del known[later]
                known[step] = float(value)
    if bad:
        skipped.append(f"{path}: {bad} of {len(lines)} lines cannot be read and are left out")
    return figures


def _read_records(folder: Path, skipped: list[str]) -> Iterator[tuple[str, int, float]]:
    """(figure, step, value) of every record of an evaluation, the oldest first."""
    records, strange = [], 0
    for path in sorted(folder.glob("*.json")):
        try:
            entries = [_record(entry) for entry in json.loads(_text(path))]
        except (ValueError, KeyError, TypeError, AttributeError):
            strange += 1
        else:
            records += entries
    if strange:
        skipped.append(f"{folder}: {strange} file(s) hold no records of attnorm evaluate and are left out")
    stepless = sum(step is None for _, step, _ in records)
    if stepless:
        skipped.append(f"{folder}: {stepless} record(s) say no step of training and are left out")
    for _, step, values in sorted(records, key=lambda record: record[0]):
        if step is not None:
            yield from ((name, step, value) for name, value in values.items())


def _record(entry: dict[str, Any]) -> tuple[str, int | None, dict[str, float]]:
    """A record's date, step and figures: the main one bears the metric's name, the others theirs behind it."""
    metric, step = entry["metric"], entry["protocol"].get("step")
    values = {
        metric if number == 0 else f"{metric} {name}": float(value)
        for number, (name, value) in enumerate(entry["values"].items())
        if _is_figure(value)
    }
    return str(entry.get("date", "")), None if step is None else int(step), values


def _is_figure(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
