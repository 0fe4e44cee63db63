"""The record of an evaluation: what is in the file, and how it reads."""

import json
import math

import pytest

from attnorm.errors import UserError
from attnorm.metrics.records import MetricValue, Protocol, make_records, read_records, table, write_records

SETTINGS = {"num_real": 5000, "frequencies": "data", "extractor": "toy"}
PROTOCOL = Protocol(
    model="runs/mine", weights="ema", step=2000, data="digits", split="train", num=4000, seed=7, settings=SETTINGS
)
VALUES = {
    "fd-toy-4k": MetricValue({"distance": 12.3456789}),
    "is-toy-4k": MetricValue({"mean": 3.25, "deviation": 0.0625}, "higher", {"splits": 10}),
    "pr-toy-4k": MetricValue({"precision": 0.5, "recall": 0.25}, "higher"),
}


@pytest.fixture
def records():
    return make_records(VALUES, PROTOCOL)


@pytest.mark.promise
def test_the_record_has_everything_that_a_number_depends_on_and_is_read_back(records, tmp_path):
    path = tmp_path / "new" / "record.json"
    write_records(records, path)
    first, second, _ = json.loads(path.read_text("utf-8"))
    assert first.pop("date") and set(first.pop("versions")) == {"attnorm", "torch", "python"}
    expected = {"metric": "fd-toy-4k", "values": {"distance": 12.3456789}, "better": "lower", "details": {}}
    assert first == expected | {"protocol": PROTOCOL.model_dump()}
    assert (second["details"], second["better"]) == ({"splits": 10}, "higher")
    assert read_records(path) == records


def test_values_that_are_not_finite_are_read_back(tmp_path):
    details = {"per_image": {"psnr": [math.inf, 20.0]}, "by_class": {"cat": math.nan}, "items": [3, 1]}
    value = MetricValue({"psnr": math.inf, "psnr_deviation": math.nan}, "each", details)
    write_records(make_records({"x": value}, PROTOCOL), tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text()
    assert json.loads(text)[0]["values"] == {"psnr": "Infinity", "psnr_deviation": "NaN"}  # JSON has no such numbers
    [found] = read_records(tmp_path / "r.json")
    assert (str(found.values), str(found.details)) == (str(value.values), str(details))


def test_a_metric_by_class_has_counts_of_its_own():
    value = MetricValue({"mean": 1.0}, num=150, settings={"num_real": 1300, "frequencies": "uniform"})
    protocol = make_records({"intra-fd": value}, PROTOCOL)[0].protocol
    assert (protocol.num, protocol.settings["num_real"], protocol.settings["frequencies"]) == (150, 1300, "uniform")


def test_the_table_is_aligned_markdown(records):
    assert table(records) == (
        "| metric                | value        | real images |\n"
        "|-----------------------|--------------|-------------|\n"
        "| fd-toy-4k ↓           | 12.35        | 5000        |\n"
        "| is-toy-4k ↑           | 3.25 ± 0.062 | 5000        |\n"
        "| pr-toy-4k.precision ↑ | 0.5          | 5000        |\n"
        "| pr-toy-4k.recall ↑    | 0.25         | 5000        |"
    )


def test_the_table_of_an_inpainter_fits_a_terminal():
    values = {"psnr": 23.456, "psnr_deviation": 1.0, "ssim": 0.81234, "mae": 0.0085923, "mask_mae": 18.4444, "l1": 1.0}
    [head, rule, row] = table(make_records({"strokes/mean colour": MetricValue(values, "each")}, PROTOCOL)).splitlines()
    assert row == "| strokes/mean colour | 23.46  | 0.8123 | 0.008592 | 18.44          | 4000   |"
    assert head == "|                     | PSNR ↑ | SSIM ↑ | MAE ↓    | mask (0–255) ↓ | images |"
    assert len(head) == len(rule) <= 80


def test_an_invalid_record_is_refused_with_the_field(records, tmp_path):
    write_records(records, path := tmp_path / "record.json")
    path.write_text(path.read_text("utf-8").replace('"lower"', '"sideways"'))
    with pytest.raises(UserError, match=r"record.json is invalid: .*0\.better"):
        read_records(path)
