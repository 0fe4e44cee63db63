"""The record of an inpainting evaluation: every way's figures with everything that they depend on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from attnorm.config import from_dict
from attnorm.errors import UserError
from attnorm.files import output_file
from attnorm.json_records import check_texts, figure_of, read_json
from attnorm.metrics.inpainting import Filled
from attnorm.metrics.reconstruction import PEAK, Spread, Window
from attnorm.metrics.result import Result, as_json, markdown, now, versions

HEADS = {"psnr": "PSNR ↑", "ssim": "SSIM ↑", "mae": "MAE ↓", "hole_mae": "MAE in the mask, 0 to 255 ↓"}
DIGITS = {"psnr": 2, "hole_mae": 2}  # after the point; of the others, 4
SCALE = {"hole_mae": PEAK}  # of the value shown; records have shares of 255
COMPOSITE = "8-bit composites; PSNR and SSIM over the whole picture"


@dataclass(frozen=True)
class InpaintingProtocol:
    """What was measured, and how.

    model, weights, step: as in `attnorm.metrics.result.Protocol`.
    data, split: where the pictures came from; num: how many; size: their side, cut from the middle of larger ones.
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


@dataclass(frozen=True)
class InpaintingRecord:
    """figures: by kind of hole and way to fill, mean and deviation over pictures of each figure of `Reconstruction`.
    distances: other metrics of the composites, by kind of hole.
    items: the index in the data of each picture, in the order of by_picture.
    by_picture: what `figures` are the means of, one number a picture.

    Records of earlier versions have neither of the last two.
    """

    figures: dict[str, dict[str, dict[str, Spread]]]
    protocol: InpaintingProtocol
    distances: dict[str, list[Result]] = field(default_factory=dict)
    date: str = field(default_factory=now)
    versions: dict[str, str] = field(default_factory=versions)
    items: list[int] = field(default_factory=list)
    by_picture: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)


def figures_of(measured: Mapping[str, Mapping[str, Filled]]) -> dict[str, dict[str, dict[str, Spread]]]:
    """Means and deviations of what `measure_fills` returned for each kind of hole."""
    return {kind: {way: filled.spread for way, filled in ways.items()} for kind, ways in measured.items()}


def by_picture_of(measured: Mapping[str, Mapping[str, Filled]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """The figures of every picture in what `measure_fills` returned for each kind of hole."""
    return {
        kind: {
            way: {name: values.tolist() for name, values in filled.composite._asdict().items()}
            for way, filled in ways.items()
        }
        for kind, ways in measured.items()
    }


def write_record(record: InpaintingRecord, path: Path) -> None:
    """Writes it as JSON, aside and renamed; the infinite PSNR of a fill that equals the truth becomes null.

    Raises:
        UserError: the file cannot be written.
    """
    plain = asdict(record)
    plain["figures"] = {
        kind: {way: {name: spread._asdict() for name, spread in figures.items()} for way, figures in ways.items()}
        for kind, ways in record.figures.items()
    }
    with output_file(path) as partial:
        partial.write_text(as_json(plain), "utf-8")


def read_record(path: Path) -> InpaintingRecord:
    """The record in a file of `write_record`, without its `distances`.

    Raises:
        UserError: there is no such file, it cannot be read, or something else is in it.
    """
    try:
        entry = read_json(path)
        check_texts(entry)
        figures = {
            kind: {way: {name: _spread(**spread) for name, spread in found.items()} for way, found in ways.items()}
            for kind, ways in entry["figures"].items()
        }
        by_picture = {
            kind: {
                way: {name: [_or_infinite(value) for value in values] for name, values in found.items()}
                for way, found in ways.items()
            }
            for kind, ways in entry.get("by_picture", {}).items()
        }
        about = {name: entry[name] for name in ("protocol", "date", "versions")}
        record = from_dict(InpaintingRecord, {"figures": {}, **about}, "a record")
        holes = dict(entry["protocol"]["holes"].items())  # of which `from_dict` makes tuples
        protocol = replace(record.protocol, holes=holes)
        items = [int(item) for item in entry.get("items", [])]
        return replace(record, figures=figures, protocol=protocol, items=items, by_picture=by_picture)
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError, OverflowError, UserError) as error:
        raise UserError(f"{path} holds no inpainting results of attnorm evaluate: give such a file's name") from error
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror or error})") from error


def record_table(record: InpaintingRecord) -> str:
    """A Markdown table, a row for each kind of hole and way to fill: mean ± deviation over pictures."""
    rows = [["holes", "fill", *HEADS.values()]]
    for kind, ways in record.figures.items():
        for way, figures in ways.items():
            rows.append([kind, way, *(shown(name, figures[name]) for name in HEADS)])
    return markdown(rows)


def _spread(mean: float | None, deviation: float | None) -> Spread:
    return Spread(_or_infinite(mean), figure_of(deviation))


def _or_infinite(value: float | None) -> float:
    """Null in a record is an infinite PSNR: no other figure can be anything but finite."""
    return math.inf if value is None else figure_of(value)


def shown(name: str, spread: Spread) -> str:
    digits, scale = DIGITS.get(name, 4), SCALE.get(name, 1)
    return f"{scale * spread.mean:.{digits}f} ± {scale * spread.deviation:.{digits}f}"
