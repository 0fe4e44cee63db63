"""Records of evaluations: values with everything that it takes to compare them, as JSON and as tables."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, RootModel

from attnorm.config import Frozen, read_json
from attnorm.files import output_file

ARROWS = {"lower": " ↓", "higher": " ↑", "each": ""}
HEADS = {"psnr": "PSNR ↑", "ssim": "SSIM ↑", "mae": "MAE ↓", "mask_mae": "mask (0–255) ↓"}

Better = Literal["lower", "higher", "each"]
Detail = int | list[int] | dict[str, float] | dict[str, list[float]]


@dataclass(frozen=True)
class MetricValue:
    """values: the main one first. better: which way it should go. details: further facts for the record.
    counts: real and generated images, where they are not those of the whole evaluation. warning: why not to trust it.
    """

    values: dict[str, float]
    better: Better = "lower"
    details: dict[str, Any] = field(default_factory=dict)
    counts: tuple[int, int] | None = None
    warning: str = ""

    @property
    def main(self) -> float:
        """The value that checkpoints are compared by."""
        return next(iter(self.values.values()))


class Protocol(Frozen):
    """What was measured, and how: values compare only where this is the same.

    model: the run, folder or repository. weights: averaged over training, as the last step left them, or not known.
    step: of training, None if not known. data, split: where the real images came from.
    num: how many images were generated or completed. seed: of these, of the real ones chosen, of subsets and masks.
    settings: what only one task has: of a generator num_real, frequencies and the extractor; of an inpainter size and
        masks.
    """

    model: str
    weights: Literal["ema", "raw", "unknown"]
    step: int | None
    data: str
    split: str
    num: int
    seed: int
    settings: dict[str, Any]


class Record(Frozen, allow_inf_nan=True, ser_json_inf_nan="strings"):
    """One metric of a generator, or all of one way to complete images.

    metric: its full name, or MASKS/WAY such as "centre/refined".
    values, better, details: as in `MetricValue`; a deviation follows its mean, and HEADS has an inpainter's ways.
    """

    metric: str
    values: dict[str, float] = Field(min_length=1)
    better: Better
    details: dict[str, Detail]
    protocol: Protocol
    date: str = Field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    versions: dict[str, str] = Field(
        default_factory=lambda: (
            {name: version(name) for name in ("attnorm", "torch")} | {"python": platform.python_version()}
        )
    )


class _Records(RootModel[list[Record]], ser_json_inf_nan="strings"):
    pass


def make_records(values: Mapping[str, MetricValue], protocol: Protocol) -> list[Record]:
    """The records of measured values by their names."""
    records = []
    for name, one in values.items():
        own = protocol
        if one.counts is not None:  # measured class by class, with as many generated images of each
            settings = protocol.settings | {"num_real": one.counts[0], "frequencies": "uniform"}
            own = protocol.model_copy(update={"num": one.counts[1], "settings": settings})
        records.append(Record(metric=name, values=one.values, better=one.better, details=one.details, protocol=own))
    return records


def write_records(records: Sequence[Record], path: Path) -> None:
    """Writes a JSON list; raises a UserError if the file cannot be written."""
    with output_file(path) as partial:
        partial.write_text(_Records(list(records)).model_dump_json(indent=1) + "\n", "utf-8")


def read_records(path: Path) -> list[Record]:
    """The records in a file of `write_records`; raises a UserError if it cannot be read or is invalid."""
    return read_json(_Records, path).root


def table(records: Sequence[Record]) -> str:
    """A Markdown table, at most 80 columns wide with usual names: one row per value of a generator's metrics, or per
    way to complete images.
    """
    if records[0].better == "each":
        rows = [["", *HEADS.values(), "images"]]
        for one in records:
            shown = [f"{one.values[name]:.4g}" for name in HEADS]
            rows.append([one.metric, *shown, str(one.protocol.num)])
        return markdown(rows)
    rows = [["metric", "value", "real images"]]
    for one in records:
        values, num_real = dict(one.values), str(one.protocol.settings.get("num_real", ""))
        spread = f" ± {values.pop('deviation'):.2g}" if "deviation" in values else ""
        for name, value in values.items():
            full = f"{one.metric}.{name}" if len(values) > 1 else one.metric
            rows.append([full + ARROWS[one.better], f"{value:.4g}{spread}", num_real])
    return markdown(rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first one the head, as a Markdown table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    rule = "|".join("-" * (width + 2) for width in widths)
    return "\n".join([f"| {lines[0]} |", f"|{rule}|", *(f"| {line} |" for line in lines[1:])])
