"""The record of an evaluation: a score with everything that it takes to compare it, as JSON and as a table."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from attnorm.config import from_dict
from attnorm.errors import UserError
from attnorm.files import output_file
from attnorm.json_records import check_texts, figure_of, read_json
from attnorm.metrics.evaluation import Frequencies
from attnorm.metrics.features import FeatureExtractor
from attnorm.metrics.registry import MetricValue

SHOWN_DIGITS = 4
SHOWN_CLASSES = 20


def versions() -> dict[str, str]:
    """Of what made the score."""
    return {"attnorm": version("attnorm"), "torch": torch.__version__, "python": platform.python_version()}


def now() -> str:
    """The time of a record, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Protocol:
    """What was measured, and how; the same for all metrics of one evaluation.

    model: the run, folder or repository that the generator came from.
    weights: averaged over training, as the last step left them, or not known (a model from elsewhere).
    step: of training, None if not known.
    data, split: where the real pictures came from.
    num_real, num_fake: how many pictures of each side.
    frequencies: of the generated classes, those of the real pictures or all alike.
    seed: of the generated pictures, of the choice of real ones and of a metric's subsets.
    """

    model: str
    weights: Literal["ema", "raw", "unknown"]
    step: int | None
    data: str
    split: str
    num_real: int
    num_fake: int
    frequencies: Frequencies
    seed: int


@dataclass(frozen=True)
class Result:
    """One metric's record. values: the figures, the main one first; better: which way they should go."""

    metric: str
    values: dict[str, float]
    better: Literal["lower", "higher"]
    details: dict[str, Any]
    extractor: str
    extractor_fingerprint: str
    resizer: str
    protocol: Protocol
    date: str = field(default_factory=now)
    versions: dict[str, str] = field(default_factory=versions)


def make_results(values: Mapping[str, MetricValue], extractor: FeatureExtractor, protocol: Protocol) -> list[Result]:
    """The records of what `evaluate` returned."""
    about = (extractor.name, extractor.fingerprint, extractor.resizer)
    results = []
    for name, value in values.items():
        own = protocol
        if value.counts is not None:  # measured class by class, with as many generated images of each
            own = replace(protocol, num_real=value.counts[0], num_fake=value.counts[1], frequencies="uniform")
        results.append(Result(name, value.values, value.better, value.details, *about, own))
    return results


def write_results(results: Sequence[Result], path: Path) -> None:
    """Writes a JSON list, aside and renamed.

    Raises:
        UserError: the file cannot be written.
    """
    with output_file(path) as partial:
        partial.write_text(as_json([asdict(one) for one in results]), "utf-8")


def as_json(record: Any) -> str:
    """A record as text that every reader of JSON takes: null stands for a number that is not finite."""
    return json.dumps(with_nulls(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_results(path: Path) -> list[Result]:
    """The records in a file of `write_results`.

    Raises:
        UserError: there is no such file, it cannot be read, or something else is in it.
    """
    try:
        entries = read_json(path)
        check_texts(entries)
        return [_result(entry) for entry in entries]
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError, UserError) as error:
        raise UserError(f"{path} holds no results of attnorm evaluate: give the name of such a file") from error
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from error


def table(results: Sequence[Result]) -> str:
    """A Markdown table, a row a metric; an arrow says which way is better."""
    rows = [["metric", "value", "real", "generated", "weights", "step", "split", "seed"]]
    for one in results:
        p = one.protocol
        name = f"{one.metric} {'↓' if one.better == 'lower' else '↑'}"
        step = "" if p.step is None else str(p.step)
        counts = [str(p.num_real), str(p.num_fake)]
        rows.append([name, _figures(one.values), *counts, p.weights, step, p.split, str(p.seed)])
    return markdown(rows)


def class_table(result: Result) -> str | None:
    """A Markdown table of a metric's figure in each class, or of the best and worst where there are many; None for a
    metric without."""
    by_class: dict[str, float] | None = result.details.get("by_class")
    if by_class is None:
        return None
    rows = [[name, f"{value:.{SHOWN_DIGITS}g}"] for name, value in by_class.items()]
    if len(rows) > SHOWN_CLASSES:
        ordered = sorted(by_class, key=lambda name: (math.isnan(by_class[name]), by_class[name]))
        rows = [[name, f"{by_class[name]:.{SHOWN_DIGITS}g}"] for name in ordered]
        left_out = len(rows) - SHOWN_CLASSES
        rows[SHOWN_CLASSES // 2 : -SHOWN_CLASSES // 2] = [[f"… {left_out} classes between", ""]]
    return markdown([["class", result.metric], *rows])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first one the head, in columns as wide as their content."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _result(entry: dict[str, Any]) -> Result:
    if not entry["values"]:
        raise ValueError("a metric without a figure")
    details = dict(entry["details"].items())
    if "by_class" in details:
        details["by_class"] = _figures_of(details["by_class"])
    whole = {**entry, "values": _figures_of(entry["values"]), "details": {}}
    return replace(from_dict(Result, whole, "a record"), details=details)  # which would make tuples of their lists


def _figures_of(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: figure_of(value) for name, value in values.items()}


def with_nulls(value: Any) -> Any:
    """The same with null, which JSON has, for every number that is not finite, which it has not."""
    if isinstance(value, dict):
        return {name: with_nulls(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_nulls(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _figures(values: Mapping[str, float]) -> str:
    """'12.3', '12.3 ± 0.4' for a mean and its deviation, and names where there are several figures."""
    shown = {name: f"{value:.{SHOWN_DIGITS}g}" for name, value in values.items()}
    if set(shown) == {"mean", "deviation"}:
        return f"{shown['mean']} ± {shown['deviation']}"
    if len(shown) == 1:
        return next(iter(shown.values()))
    return ", ".join(f"{name} {value}" for name, value in shown.items())
