"""Records of evaluations: values with everything that it takes to compare them, as JSON and as tables."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, RootModel

from attnorm import errors
from attnorm.config import Frozen, read_json
from attnorm.files import output_file
from attnorm.metrics.base import MetricValue

ARROWS = {"lower": " ↓", "higher": " ↑", "each": ""}
HEADS = {"psnr": "PSNR ↑", "ssim": "SSIM ↑", "mae": "MAE ↓", "mask_mae": "mask (0–255) ↓"}

Detail = int | list[int] | dict[str, float] | dict[str, list[float]]


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
    better: Literal["lower", "higher", "each"]
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
    """A Markdown table with a row per record and a column per value but l1; an arrow says which way is better."""
    rows: list[dict[str, str]] = []
    for one in records:
        row, mean = {"": one.metric + ARROWS[one.better]}, ""
        for name, value in one.values.items():
            if name.startswith("l1"):
                continue
            if name.endswith("deviation"):
                row[mean] += f" ± {value:.2g}"
            else:
                row[mean := name] = f"{value:.4g}"
        counts = {"images": one.protocol.num, "real images": one.protocol.settings.get("num_real")}
        rows.append(row | {name: str(count) for name, count in counts.items() if count is not None})
    columns = list(dict.fromkeys(name for row in rows for name in row))
    shown = [[row.get(name, "") for name in columns] for row in rows]
    return errors.table([[HEADS.get(name, name) for name in columns], *shown], markdown=True)
