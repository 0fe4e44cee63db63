"""Records of evaluations: values with the protocol that makes them comparable, as JSON and as tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any, Literal

from pydantic import Field, RootModel

from attnorm import errors
from attnorm.config import Frozen, read_json
from attnorm.files import output_file

ARROWS = {"lower": " ↓", "higher": " ↑", "each": ""}
HEADS = {"psnr": "PSNR ↑", "ssim": "SSIM ↑", "mae": "MAE ↓", "mask_mae": "mask (0–255) ↓"}

Better = Literal["lower", "higher", "each"]
Detail = int | list[int] | dict[str, float] | dict[str, list[float]]


@dataclass(frozen=True)
class MetricValue:
    """values: the main one first. better: the better direction. details: further facts for the record.
    num, settings: of the protocol, where they are the metric's own. warning: why not to trust it.
    """

    values: dict[str, float]
    better: Better = "lower"
    details: dict[str, Any] = field(default_factory=dict)
    num: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    warning: str = ""

    @property
    def main(self) -> float:
        """The value that checkpoints are compared by."""
        return next(iter(self.values.values()))


class Protocol(Frozen):
    """The protocol of an evaluation: values are comparable only if it is the same.

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
        default_factory=lambda: {"attnorm": version("attnorm"), "torch": version("torch"), "python": python_version()}
    )


class _Records(RootModel[list[Record]], ser_json_inf_nan="strings"):
    pass


def make_records(values: Mapping[str, MetricValue], protocol: Protocol) -> list[Record]:
    """The records of measured values by their names."""
    records = []
    for name, one in values.items():
        changes = {"num": one.num or protocol.num, "settings": protocol.settings | one.settings}
        own = protocol.model_copy(update=changes)
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
    """A Markdown table: a row per value of a generator's metrics, or per way to complete images."""
    if records[0].better == "each":
        rows = [["", *HEADS.values(), "images"]]
        for one in records:
            rows.append([one.metric, *(f"{one.values[name]:.4g}" for name in HEADS), str(one.protocol.num)])
        return errors.table(rows, markdown=True)
    rows = [["metric", "value", "real images"]]
    for one in records:
        deviation, num_real = one.values.get("deviation"), str(one.protocol.settings.get("num_real", ""))
        spread = "" if deviation is None else f" ± {deviation:.2g}"
        values = {name: value for name, value in one.values.items() if name != "deviation"}
        for name, value in values.items():
            full = f"{one.metric}.{name}" if len(values) > 1 else one.metric
            rows.append([full + ARROWS[one.better], f"{value:.4g}{spread}", num_real])
    return errors.table(rows, markdown=True)
