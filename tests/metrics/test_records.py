"""The record of an evaluation: what is in the file, and how it reads."""

import json
import math

import numpy as np
import pytest

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics.base import MetricValue
from attnorm.metrics.inpainting import HOLES, Truths, measure_fills
from attnorm.metrics.records import (
    InpaintingProtocol,
    Protocol,
    class_table,
    make_inpainting_record,
    make_results,
    read_record,
    read_results,
    record_table,
    table,
    write_record,
    write_results,
)
from tests.metrics.toy import Extractor

PROTOCOL = Protocol(
    model="runs/mine",
    weights="ema",
    step=2000,
    data="digits",
    split="train",
    num_real=5000,
    num_fake=4000,
    frequencies="data",
    seed=7,
)
VALUES = {
    "fd-toy-4k": MetricValue({"distance": 12.3456789}),
    "is-toy-4k": MetricValue({"mean": 3.25, "deviation": 0.0625}, "higher", {"splits": 10}),
    "pr-toy-4k": MetricValue({"precision": 0.5, "recall": 0.25}, "higher"),
}


def by_class(values):
    value = MetricValue({"mean": 1.0}, details={"by_class": values, "per_class": 50}, counts=(1300, 150))
    return make_results({"intra-fd-toy-50-per-class": value}, Extractor(), PROTOCOL)[0]


@pytest.fixture
def results():
    return make_results(VALUES, Extractor(), PROTOCOL)


@pytest.mark.promise
def test_the_record_has_everything_that_a_number_depends_on_and_is_read_back(results, tmp_path):
    path = tmp_path / "new" / "record.json"
    write_results(results, path)
    first, second, _ = json.loads(path.read_text("utf-8"))
    assert first.pop("date") and set(first.pop("versions")) == {"attnorm", "torch", "python"}
    assert first == {
        "metric": "fd-toy-4k",
        "values": {"distance": 12.3456789},
        "better": "lower",
        "details": {},
        "extractor": "toy",
        "extractor_fingerprint": "0",
        "resizer": "pooling to 4",
        "protocol": PROTOCOL.model_dump(),
    }
    assert (second["details"], second["better"]) == ({"splits": 10}, "higher")
    assert read_results(path) == results


def test_values_that_are_not_finite_are_null_in_the_file(tmp_path):
    results = make_results({"fd": MetricValue({"mean": 1.5, "deviation": math.nan})}, Extractor(), PROTOCOL)
    write_results([*results, by_class({"a": 1.0, "b": math.nan})], tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())[0]["values"] == {"mean": 1.5, "deviation": None}
    first, second = read_results(tmp_path / "r.json")
    assert math.isnan(first.values["deviation"]) and math.isnan(second.details["by_class"]["b"])


def test_a_result_by_class_has_counts_of_its_own():
    protocol = by_class({"a": 1.0}).protocol
    assert (protocol.num_real, protocol.num_fake, protocol.frequencies) == (1300, 150, "uniform")


def test_the_table_is_aligned_markdown(results):
    unknown = results[0].model_copy(update={"protocol": PROTOCOL.model_copy(update={"step": None})})
    assert table([*results, unknown]) == (
        "| metric      | value                      | real | generated | weights | step | split | seed |\n"
        "|-------------|----------------------------|------|-----------|---------|------|-------|------|\n"
        "| fd-toy-4k ↓ | 12.35                      | 5000 | 4000      | ema     | 2000 | train | 7    |\n"
        "| is-toy-4k ↑ | 3.25 ± 0.0625              | 5000 | 4000      | ema     | 2000 | train | 7    |\n"
        "| pr-toy-4k ↑ | precision 0.5, recall 0.25 | 5000 | 4000      | ema     | 2000 | train | 7    |\n"
        "| fd-toy-4k ↓ | 12.35                      | 5000 | 4000      | ema     |      | train | 7    |"
    )


def test_few_classes_are_shown_in_their_order_and_of_many_the_best_and_the_worst(results):
    assert class_table(results[0]) is None
    few = class_table(by_class({"b": 2.0, "a": 1.0})).splitlines()
    assert few[0] == "| class | intra-fd-toy-50-per-class |"
    assert [line.split()[1:4:2] for line in few[2:]] == [["b", "2"], ["a", "1"]]
    values = {f"c{i}": math.nan if i == 0 else float(i * 7 % 100) for i in range(100)}
    lines = class_table(by_class(values)).splitlines()
    shown = [line.split("|")[2].strip() for line in lines[2:]]
    assert shown == [*map(str, range(1, 11)), "", *map(str, range(91, 100)), "nan"]
    assert "… 80 classes between" in lines[12]


WRONG = [
    {"metric": None},
    {"details": {"by_class": {"cat": "good"}}},
    {"values": {"distance": "high"}},
    {"values": {}},
    {"better": "sideways"},
    {"more": 1},
    {"protocol": PROTOCOL.model_dump() | {"seed": 1.5}},
    {"protocol": {}},
]


@pytest.mark.parametrize("change", WRONG, ids=lambda change: repr(change)[:50])
def test_an_invalid_record_is_refused_with_the_field(change, results, tmp_path):
    path = tmp_path / "record.json"
    write_results(results, path)
    entry = json.loads(path.read_text("utf-8"))[0]
    path.write_text(json.dumps([entry | change]))
    with pytest.raises(UserError, match=rf"record.json is invalid: .*0\.{next(iter(change))}"):
        read_results(path)


def test_files_that_cannot_be_read_or_written_are_named(results, tmp_path):
    (tmp_path / "file").write_text("{")
    with pytest.raises(UserError, match="file is invalid"):
        read_results(tmp_path / "file")
    with pytest.raises(UserError, match=r"cannot read .*gone.json: No such file"):
        read_results(tmp_path / "gone.json")
    with pytest.raises(UserError, match=r"cannot write .*record.json"):
        write_results(results, tmp_path / "file" / "record.json")


@pytest.fixture
def record():
    """Of three images, completed in black and with the truth itself."""
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    truths = Truths(ImageDataset(images, np.zeros(3, np.int64), ("all",)), np.array([2, 0, 1]), 16)
    about = {"step": 6, "data": "digits", "split": "held-out", "num": 3, "size": 16, "seed": 0, "window": "gaussian"}
    protocol = InpaintingProtocol(model="run", weights="ema", holes={"centre": {"fraction": [0.25, 0.25]}}, **about)
    measured = {
        kind: measure_fills(truths, holes, lambda images, masks: {"black": np.zeros_like(images), "truth": images})
        for kind, holes in HOLES.items()
    }
    return make_inpainting_record(measured, protocol, truths.items.tolist())


@pytest.mark.promise
def test_an_inpainting_record_has_the_values_of_every_image_and_is_read_back(record, tmp_path):
    write_record(record, tmp_path / "r.json")
    found = read_record(tmp_path / "r.json")
    assert (found.items, found.by_picture, found.protocol) == ([2, 0, 1], record.by_picture, record.protocol)
    for kind, ways in found.figures.items():
        for name, spread in ways["black"].items():
            each = found.by_picture[kind]["black"][name]
            assert len(set(each)) == 3
            assert (np.mean(each), np.std(each)) == pytest.approx((spread.mean, spread.deviation))
    psnr = found.figures["centre"]["truth"]["psnr"]
    assert psnr.mean == math.inf and math.isnan(psnr.deviation)
    entry = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert entry["figures"]["centre"]["truth"]["psnr"] == {"mean": None, "deviation": None}
    assert "| centre  | truth | inf ± nan " in record_table(record)


@pytest.mark.parametrize(
    "change", [{"figures": {"centre": {"black": {"psnr": 20.0}}}}, {"items": ["a"]}, {"date": None}]
)
def test_an_invalid_inpainting_record_is_refused_with_the_field(change, record, tmp_path):
    path = tmp_path / "r.json"
    write_record(record, path)
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | change))
    with pytest.raises(UserError, match=rf"r\.json is invalid: {next(iter(change))}"):
        read_record(path)
