"""The record of an evaluation: what is in the file, and how it reads."""

import json
import math
from datetime import datetime, timezone

import pytest
import torch

from attnorm import __version__
from attnorm.errors import UserError
from attnorm.metrics.registry import MetricValue
from attnorm.metrics.result import Protocol, class_table, make_results, read_results, table, write_results
from tests.metrics.toy import Extractor

PROTOCOL = Protocol("runs/mine", "ema", 2000, "digits", "train", 5000, 4000, "data", 7)
VALUES = {
    "fd-toy-4k": MetricValue({"distance": 12.3456789}),
    "is-toy-4k": MetricValue({"mean": 3.25, "deviation": 0.0625}, "higher", {"splits": 10}),
    "pr-toy-4k": MetricValue({"precision": 0.5, "recall": 0.25}, "higher"),
}


def by_class(count):
    values = {f"c{i}": float(i * 7 % count) for i in range(count)}
    value = MetricValue({"mean": 1.0}, details={"by_class": values})
    return make_results({"intra-fd-toy-4k": value}, Extractor(), PROTOCOL)[0]


@pytest.fixture
def results():
    return make_results(VALUES, Extractor(), PROTOCOL)


def test_a_figure_that_is_not_finite_is_null_in_the_file(tmp_path):
    values = {"fd-toy-4k": MetricValue({"mean": 1.5, "deviation": float("nan")})}
    write_results(make_results(values, Extractor(), PROTOCOL), tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())[0]["values"] == {"mean": 1.5, "deviation": None}
    [found] = read_results(tmp_path / "r.json")
    assert found.values["mean"] == 1.5
    assert math.isnan(found.values["deviation"])


def test_the_record_says_everything_that_a_number_depends_on(results, tmp_path):
    write_results(results, tmp_path / "new" / "record.json")
    first, second, _ = json.loads((tmp_path / "new" / "record.json").read_text("utf-8"))
    now = datetime.now(timezone.utc)
    assert abs((now - datetime.fromisoformat(first.pop("date"))).total_seconds()) < 60
    versions = first.pop("versions")
    assert (versions["attnorm"], versions["torch"]) == (__version__, torch.__version__)
    assert first == {
        "metric": "fd-toy-4k",
        "values": {"distance": 12.3456789},
        "better": "lower",
        "details": {},
        "extractor": "toy",
        "extractor_fingerprint": "0",
        "resizer": "pooling to 4",
        "protocol": {
            "model": "runs/mine",
            "weights": "ema",
            "step": 2000,
            "data": "digits",
            "split": "train",
            "num_real": 5000,
            "num_fake": 4000,
            "frequencies": "data",
            "seed": 7,
        },
    }
    assert (second["details"], second["better"]) == ({"splits": 10}, "higher")


def test_reading_gives_back_what_was_written(results, tmp_path):
    write_results(results, tmp_path / "record.json")
    assert read_results(tmp_path / "record.json") == results
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_the_table_is_markdown_with_columns_as_wide_as_their_content(results):
    assert table(results) == (
        "| metric      | value                      | real | generated | weights | step | split | seed |\n"
        "|-------------|----------------------------|------|-----------|---------|------|-------|------|\n"
        "| fd-toy-4k ↓ | 12.35                      | 5000 | 4000      | ema     | 2000 | train | 7    |\n"
        "| is-toy-4k ↑ | 3.25 ± 0.0625              | 5000 | 4000      | ema     | 2000 | train | 7    |\n"
        "| pr-toy-4k ↑ | precision 0.5, recall 0.25 | 5000 | 4000      | ema     | 2000 | train | 7    |"
    )


def test_an_unknown_step_is_left_blank():
    protocol = Protocol("hub/model", "unknown", None, "digits", "digits", 5, 5, "uniform", 0)
    assert "| unknown |      | digits |" in table(make_results(VALUES, Extractor(), protocol))


def test_few_classes_are_shown_in_their_order(results):
    assert class_table(results[0]) is None
    assert class_table(by_class(3)) == (
        "| class | intra-fd-toy-4k |\n"
        "|-------|-----------------|\n"
        "| c0    | 0               |\n"
        "| c1    | 1               |\n"
        "| c2    | 2               |"
    )


def test_of_many_classes_the_best_and_the_worst_are_shown():
    lines = class_table(by_class(100)).splitlines()
    shown = [line.split("|")[2].strip() for line in lines[2:]]
    assert shown == [*map(str, range(10)), "", *map(str, range(90, 100))]
    assert "… 80 classes between" in lines[12]


@pytest.mark.parametrize("content", [None, "{", "[1]", "{}[", '[{"metric": "fd"}]', '{"protocol": 1}'])
def test_what_is_no_record_is_refused(content, tmp_path):
    path = tmp_path / "record.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"record.json holds no results of attnorm evaluate"):
        read_results(path)


def test_a_record_that_cannot_be_written_is_a_sentence(results, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*record.json"):
        write_results(results, tmp_path / "file" / "record.json")


def test_a_class_whose_figure_is_not_finite_is_read_and_shown_last(tmp_path):
    one = by_class(100)
    one.details["by_class"]["c0"] = float("nan")
    write_results([one], tmp_path / "r.json")
    [found] = read_results(tmp_path / "r.json")
    assert math.isnan(found.details["by_class"]["c0"])
    lines = class_table(found).splitlines()
    assert [cell.strip() for cell in lines[-1].split("|")[1:3]] == ["c0", "nan"]
    assert lines[2].split("|")[2].strip() == "1"


WRONG = [
    {"metric": None},
    {"details": []},
    {"details": {"by_class": [1.0]}},
    {"details": {"by_class": {"cat": "good"}}},
    {"values": "high"},
    {"values": {"distance": "high"}},
    {"values": {}},
    {"better": "sideways"},
    {"date": 3},
    {"versions": [1]},
    {"extractor": ["a"]},
    {"more": 1},
    *({"protocol": {name: None}} for name in ("data", "model", "weights", "num_real", "seed")),
    {"protocol": {"data": "a\0b"}},
    {"protocol": {"model": "\ud800"}},
    {"protocol": {"step": "6"}},
    {"protocol": {"step": 10**400}},
    {"protocol": {"seed": 1.5}},
]


@pytest.mark.parametrize("change", WRONG, ids=lambda change: repr(change)[:50])
def test_a_record_with_values_of_a_wrong_kind_is_refused(change, results, tmp_path):
    path = tmp_path / "record.json"
    write_results(results, path)
    entries = json.loads(path.read_text("utf-8"))
    protocol = {**entries[0]["protocol"], **change.get("protocol", {})}
    path.write_text(json.dumps([{**entries[0], **change, "protocol": protocol}]))
    with pytest.raises(UserError, match=r"record.json holds no results of attnorm evaluate"):
        read_results(path)


def test_a_record_that_may_not_be_read_is_another_sentence(results, tmp_path):
    (tmp_path / "record.json").mkdir()
    with pytest.raises(UserError, match=r"cannot read .*record.json \(Is a directory\)"):
        read_results(tmp_path / "record.json")
