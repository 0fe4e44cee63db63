"""Records of evaluations: values with everything that it takes to compare them, as JSON and as tables."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field, RootModel, TypeAdapter, field_validator

from attnorm.config import Frozen, read_json
from attnorm.files import output_file
from attnorm.metrics.base import MetricValue, Number, NumberOrInfinity
from attnorm.metrics.evaluation import Frequencies
from attnorm.metrics.features import FeatureExtractor
from attnorm.metrics.inpainting import Filled
from attnorm.metrics.reconstruction import PEAK, Spread, Window

SHOWN_DIGITS, SHOWN_CLASSES = 4, 20
HEADS = {"psnr": "PSNR ↑", "ssim": "SSIM ↑", "mae": "MAE ↓", "hole_mae": "MAE in the mask, 0 to 255 ↓"}
DIGITS = {"psnr": 2, "hole_mae": 2}  # after the point; of the others, 4
SCALE = {"hole_mae": PEAK}  # of the value shown; records have shares of 255
COMPOSITE = "8-bit composites; PSNR and SSIM over the whole picture"


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
    def _null_by_class(cls, details: dict[str, Any]) -> dict[str, Any]:
        by_class = details.get("by_class", {})
        return details | {"by_class": _NUMBERS.validate_python(by_class)} if by_class else details


_NUMBERS = TypeAdapter(dict[str, Number])


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


class InpaintingProtocol(Frozen):
    """What was measured, and how.

    model, weights, step: as in `Protocol`. data, split: where the images came from; num: how many.
    size: their height and width, cut from the middle of larger ones.
    holes: by name, the fields of each kind of mask (`MaskConfig`). seed: of the masks. window: of SSIM.
    """

    model: str
    weights: Literal["ema", "raw", "unknown"]
    step: int | None
    data: str
    split: str
    num: int
    size: int
    holes: dict[str, Any]
    seed: int
    window: Window
    pictures: str = COMPOSITE


class InpaintingRecord(Frozen):
    """figures: by kind of mask and way to complete, mean and deviation over images of each field of `Reconstruction`.
    items: the index in the data of each image, in the order of by_picture.
    by_picture: what `figures` are the means of, one number per image.
    """

    figures: dict[str, dict[str, dict[str, Spread]]]
    protocol: InpaintingProtocol
    date: str = Field(default_factory=now)
    versions: dict[str, str] = Field(default_factory=versions)
    items: list[int]
    by_picture: dict[str, dict[str, dict[str, list[NumberOrInfinity]]]]


def make_inpainting_record(
    measured: Mapping[str, Mapping[str, Filled]],
    protocol: InpaintingProtocol,
    items: Sequence[int],
) -> InpaintingRecord:
    """The record of what `measure_fills` returned for each kind of mask of the images `items` of the data."""

    def each(filled: Filled) -> dict[str, list[float]]:
        return {name: values.tolist() for name, values in filled.composite._asdict().items()}

    return InpaintingRecord(
        figures={
            kind: {way: filled.composite.spread() for way, filled in ways.items()} for kind, ways in measured.items()
        },
        protocol=protocol,
        items=list(items),
        by_picture={kind: {way: each(filled) for way, filled in ways.items()} for kind, ways in measured.items()},
    )


def write_results(results: Sequence[Result], path: Path) -> None:
    """Writes a JSON list; raises a UserError if the file cannot be written."""
    write_record(_Results(list(results)), path)


def write_record(record: BaseModel, path: Path) -> None:
    """Writes JSON; raises a UserError if the file cannot be written."""
    with output_file(path) as partial:
        partial.write_text(record.model_dump_json(indent=1) + "\n", "utf-8")


def read_results(path: Path) -> list[Result]:
    """The records in a file of `write_results`; raises a UserError if it cannot be read or is invalid."""
    return read_json(_Results, path).root


def read_record(path: Path) -> InpaintingRecord:
    """The record of an inpainting evaluation; raises a UserError if it cannot be read or is invalid."""
    return read_json(InpaintingRecord, path)


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


def record_table(record: InpaintingRecord) -> str:
    """A Markdown table with a row per kind of mask and way to complete: mean ± deviation over images."""
    rows = [["holes", "fill", *HEADS.values()]]
    for kind, ways in record.figures.items():
        for way, spreads in ways.items():
            rows.append([kind, way, *(_spread_text(name, spreads[name]) for name in HEADS)])
    return markdown(rows)


def _spread_text(name: str, spread: Spread) -> str:
    digits, scale = DIGITS.get(name, 4), SCALE.get(name, 1)
    return f"{scale * spread.mean:.{digits}f} ± {scale * spread.deviation:.{digits}f}"


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
