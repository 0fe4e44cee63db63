"""The record of an evaluation: a score with everything that it takes to compare it, as JSON and as a table."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, Field, RootModel, field_validator

from attnorm.config import Frozen, read_json
from attnorm.files import output_file
from attnorm.metrics.base import MetricValue
from attnorm.metrics.evaluation import Frequencies
from attnorm.metrics.features import FeatureExtractor

SHOWN_DIGITS = 4
SHOWN_CLASSES = 20


def _null_is_nan(value: Any) -> Any:
    return math.nan if value is None else value


Number = Annotated[float, BeforeValidator(_null_is_nan)]  # JSON has null for what is not finite


def versions() -> dict[str, str]:
    """Of the software that computed a score."""
    return {"attnorm": version("attnorm"), "torch": torch.__version__, "python": platform.python_version()}


def now() -> str:
    """The time of a record, UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class Protocol(Frozen):
    """What was measured, and how.

    model: the run, folder or repository of the generator. step: of training, None if not known.
    weights: averaged over training, as the last step left them, or not known (a model from elsewhere).
    data, split: where the real images came from. num_real, num_fake: how many images of each set.
    frequencies: of the generated classes, those of the real images or equal ones.
    seed: of the generated images, of the choice of real ones and of a metric's subsets.
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


class Result(Frozen):
    """One metric's record. values: the main one first; better: which way they should go."""

    metric: str
    values: dict[str, Number] = Field(min_length=1)
    better: Literal["lower", "higher"]
    details: dict[str, Any]
    extractor: str
    extractor_fingerprint: str
    resizer: str
    protocol: Protocol
    date: str = Field(default_factory=now)
    versions: dict[str, str] = Field(default_factory=versions)

    @field_validator("details")
    @classmethod
    def _by_class_as_numbers(cls, details: dict[str, Any]) -> dict[str, Any]:
        by_class = {name: float(_null_is_nan(one)) for name, one in details.get("by_class", {}).items()}
        return details | {"by_class": by_class} if by_class else details


class _Results(RootModel[list[Result]]):
    pass


def make_results(values: Mapping[str, MetricValue], extractor: FeatureExtractor, protocol: Protocol) -> list[Result]:
    """The records of what `Evaluator.measure` returned."""
    results = []
    for name, value in values.items():
        own = protocol
        if value.counts is not None:  # measured class by class, with as many generated images of each
            counts = dict(zip(("num_real", "num_fake"), value.counts, strict=True))
            own = protocol.model_copy(update=counts | {"frequencies": "uniform"})
        results.append(
            Result(
                metric=name,
                values=value.values,
                better=value.better,
                details=value.details,
                extractor=extractor.name,
                extractor_fingerprint=extractor.fingerprint,
                resizer=extractor.resizer,
                protocol=own,
            )
        )
    return results


def write_results(results: Sequence[Result], path: Path) -> None:
    """Writes a JSON list.

    Raises:
        UserError: the file cannot be written.
    """
    with output_file(path) as partial:
        partial.write_text(as_json(list(results)), "utf-8")


def read_results(path: Path) -> list[Result]:
    """The records in a file of `write_results`.

    Raises:
        UserError: the file cannot be read, or it is invalid.
    """
    return read_json(_Results, path).root


def as_json(record: Any) -> str:
    """A record as JSON, with null for a number that is not finite."""
    return json.dumps(with_nulls(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def with_nulls(value: Any) -> Any:
    """The same with null, which JSON has, for every number that is not finite, which it lacks."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, dict):
        return {name: with_nulls(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_nulls(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(results: Sequence[Result]) -> str:
    """A Markdown table with a row per metric; an arrow says which way is better."""
    rows = [["metric", "value", "real", "generated", "weights", "step", "split", "seed"]]
    for one in results:
        p = one.protocol
        name = f"{one.metric} {'↓' if one.better == 'lower' else '↑'}"
        step = "" if p.step is None else str(p.step)
        counts = [str(p.num_real), str(p.num_fake)]
        rows.append([name, _shown(one.values), *counts, p.weights, step, p.split, str(p.seed)])
    return markdown(rows)


def class_table(result: Result) -> str | None:
    """A Markdown table of the value of each class, or of the best and the worst of many; None for other metrics."""
    by_class: dict[str, float] | None = result.details.get("by_class")
    if by_class is None:
        return None
    names = list(by_class)
    if len(names) > SHOWN_CLASSES:
        names.sort(key=lambda name: (math.isnan(by_class[name]), by_class[name]))
    rows = [[name, f"{by_class[name]:.{SHOWN_DIGITS}g}"] for name in names]
    if len(names) > SHOWN_CLASSES:
        left_out = f"… {len(names) - SHOWN_CLASSES} classes between"
        rows[SHOWN_CLASSES // 2 : -SHOWN_CLASSES // 2] = [[left_out, ""]]
    return markdown([["class", result.metric], *rows])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first one the head, as a Markdown table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _shown(values: Mapping[str, float]) -> str:
    """'12.3', '12.3 ± 0.4' for a mean and its deviation, and names for several values."""
    shown = {name: f"{value:.{SHOWN_DIGITS}g}" for name, value in values.items()}
    if set(shown) == {"mean", "deviation"}:
        return f"{shown['mean']} ± {shown['deviation']}"
    if len(shown) == 1:
        return next(iter(shown.values()))
    return ", ".join(f"{name} {value}" for name, value in shown.items())
