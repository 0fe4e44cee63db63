"""What the project set out to reach in speed and memory, beside what a folder of records says was reached."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from attnorm.benchmarks.profiling import CONVOLUTIONS
from attnorm.benchmarks.report import ratio, table

Record = Mapping[str, Any]
Measured = Callable[[Record], "float | None"]
AT_MOST, AT_LEAST = "≤", "≥"
COMPARE = {AT_MOST: operator.le, AT_LEAST: operator.ge}


@dataclass(frozen=True)
class Goal:
    """record: the name of the record that tells. measured: takes the figure from it, None if it is not there."""

    about: str
    record: str
    sense: str
    bound: float
    measured: Measured
    digits: int = 2
    unit: str = ""

    def row(self, records: Mapping[str, Record]) -> list[str]:
        """The goal, the record that tells, the bound, the figure and whether it was met, as text."""
        record = records.get(self.record)
        found = None if record is None else self.measured(record)
        bound = f"{self.sense} {self.bound:,g}{self.unit}"
        if found is None:
            return [self.about, self.record, bound, "not measured", "–"]
        met = COMPARE[self.sense](round(found, self.digits), self.bound)
        return [self.about, self.record, bound, f"{found:,.{self.digits}f}{self.unit}", "yes" if met else "no"]


def _one(record: Record, **wanted: Any) -> Mapping[str, Any] | None:
    return next((f for f in record["figures"] if all(f.get(k) == v for k, v in wanted.items())), None)


def _value(record: Record, quantity: str, **wanted: Any) -> float | None:
    found = _one(record, **wanted)
    return None if found is None else found[quantity]


def _times(record: Record, ours: dict[str, Any], base: dict[str, Any]) -> float | None:
    """How many times as long one takes as the other."""
    first, second = _one(record, **ours), _one(record, **base)
    return None if first is None or second is None else ratio(first, second)


def _layer_times(size: int, which: str) -> Measured:
    place = {"size": size, "pass": which}
    return lambda record: _times(record, {**place, "name": "regional_norm cpp"}, {**place, "name": "instance_norm"})


def _layer_memory(size: int, which: str) -> Measured:
    return lambda record: _value(record, "memory", name="regional_norm cpp", size=size, **{"pass": which})


def _layer_exponent(record: Record) -> float | None:
    sizes = record["setting"]["sizes"]
    if min(sizes) > 128 or max(sizes) < 2048:
        return None
    found: float | None = record["exponents"]["forward"].get("regional_norm cpp")
    return found


def _step_times(size: int, base: str) -> Measured:
    place = {"size": size, "variant": "ours"}
    return lambda record: _times(record, {**place, "system": "an-gan"}, {**place, "system": base})


def _against_plain(size: int) -> Measured:
    place = {"size": size, "system": "an-gan"}
    return lambda record: _times(record, {**place, "variant": "plain"}, {**place, "variant": "ours"})


def _outside_convolutions(size: int) -> Measured:
    def measured(record: Record) -> float | None:
        found = (p for p in record["profiles"] if (p["size"], p["system"]) == (size, "an-gan"))
        shares = next(found, None)
        return None if shares is None else 100 * (1 - shares["shares"][CONVOLUTIONS])

    return measured


def _reading(record: Record) -> float | None:
    """The slowest batch size."""
    if record["setting"]["size"] != 128:
        return None
    rates = [f["images_per_second"] for f in record["figures"] if f["reader"] == "prefetching thread"]
    return min(rates, default=None)


def _goals() -> Iterator[Goal]:
    operator_of = {
        "layer": "1 x 32 channels, float32",
        "layer-bf16": "1 x 32 channels, bf16",
    }
    for record, of in operator_of.items():
        for size, bound in ((128, 2.0), (256, 1.5), (512, 1.2), (1024, 1.2)):
            about = f"operator forward, {of}, {size}²: times instance_norm"
            yield Goal(about, record, AT_MOST, bound, _layer_times(size, "forward"))
        for size in (512, 1024):
            about = f"operator forward + backward, {of}, {size}²: times instance_norm"
            yield Goal(about, record, AT_MOST, 2.5, _layer_times(size, "training"))
    about = "operator forward, 16 x 256 channels, float32, 32²: times instance_norm"
    yield Goal(about, "layer-wide", AT_MOST, 2.0, _layer_times(32, "forward"))
    for which, bound in (("forward", 160.0), ("training", 330.0)):
        name = "forward" if which == "forward" else "forward + backward"
        about = f"operator {name}, float32, 1024²: memory beside its inputs"
        yield Goal(about, "layer", AT_MOST, bound, _layer_memory(1024, which), 0, " MB")
    about = "operator forward, 128² to 2048²: exponent of time in pixels"
    yield Goal(about, "layer-growth", AT_MOST, 1.1, _layer_exponent)
    for size in (32, 64, 128):
        about = f"AN-GAN's step, {size}²: time, times"
        yield Goal(f"{about} SN-GAN*'s", "train", AT_MOST, 1.05, _step_times(size, "sn-gan-star"))
        yield Goal(f"{about} SA-GAN's", "train", AT_MOST, 1.0, _step_times(size, "sa-gan"))
    for size in (32, 64):
        yield Goal(f"AN-GAN's step, {size}²: speed, times the plain loop", "train", AT_LEAST, 1.8, _against_plain(size))
        about = f"AN-GAN's step, {size}²: share of time outside convolutions"
        yield Goal(about, "train", AT_MOST, 25.0, _outside_convolutions(size), 1, " %")
    yield Goal("loader, 128²: images/s", "data", AT_LEAST, 20_000.0, _reading, 0)


GOALS = tuple(_goals())


def as_text(records: Mapping[str, Record]) -> str:
    """All goals as a table, and how many were met."""
    rows = [goal.row(records) for goal in GOALS]
    count = functools.partial([row[-1] for row in rows].count)
    title = f"{count('yes')} of {len(rows)} goals met, {count('no')} not met, {count('–')} not measured"
    return table(title, ["goal", "record", "bound", "measured", "met"], rows)
