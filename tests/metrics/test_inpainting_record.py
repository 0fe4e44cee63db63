"""The record of an inpainting evaluation: the figures of every picture, and numbers that JSON has no word for."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics.inpainting import HOLES, Truths, measure_fills
from attnorm.metrics.inpainting_record import (
    InpaintingProtocol,
    InpaintingRecord,
    by_picture_of,
    figures_of,
    read_record,
    write_record,
)

PROTOCOL = InpaintingProtocol("runs/holes", "ema", 6, "digits", "digits-held-out", 3, 16, {}, 0, "gaussian")


def no_json(word):
    raise AssertionError(f"{word} is no JSON")


@pytest.fixture
def record():
    """Of three pictures: black, and the truth itself."""
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    truths = Truths(ImageDataset(images, np.zeros(3, np.int64), ("all",)), np.array([2, 0, 1]), 16)

    def fill(pictures, holes):
        return {"black": np.zeros_like(pictures), "truth": pictures}

    measured = {kind: measure_fills(truths, holes, fill) for kind, holes in HOLES.items()}
    each = by_picture_of(measured)
    return InpaintingRecord(figures_of(measured), PROTOCOL, items=truths.items.tolist(), by_picture=each)


def test_the_figures_of_every_picture_are_kept(record, tmp_path):
    write_record(record, tmp_path / "r.json")
    found = read_record(tmp_path / "r.json")
    assert found.items == [2, 0, 1]
    assert found.by_picture == record.by_picture
    for kind, ways in record.figures.items():
        for name, spread in ways["black"].items():
            each = found.by_picture[kind]["black"][name]
            assert len(set(each)) == 3
            assert (np.mean(each), np.std(each)) == pytest.approx(spread)


def test_a_fill_that_equals_the_truth_is_written_as_json_and_read_back(record, tmp_path):
    write_record(record, tmp_path / "r.json")
    entry = json.loads((tmp_path / "r.json").read_text("utf-8"), parse_constant=no_json)
    assert entry["figures"]["centre"]["truth"]["psnr"] == {"mean": None, "deviation": None}
    assert entry["by_picture"]["centre"]["truth"]["psnr"] == [None] * 3
    found = read_record(tmp_path / "r.json")
    psnr = found.figures["centre"]["truth"]["psnr"]
    assert psnr.mean == math.inf and math.isnan(psnr.deviation)
    assert found.by_picture["centre"]["truth"]["psnr"] == [math.inf] * 3


def test_records_of_earlier_versions_are_read(record, tmp_path):
    write_record(record, tmp_path / "r.json")
    entry = json.loads((tmp_path / "r.json").read_text("utf-8"))
    del entry["items"], entry["by_picture"]
    entry["figures"]["centre"]["truth"]["psnr"] = {"mean": math.inf, "deviation": math.nan}
    (tmp_path / "old.json").write_text(json.dumps(entry), "utf-8")
    found = read_record(tmp_path / "old.json")
    assert (found.items, found.by_picture) == ([], {})
    assert found.figures["random"]["black"] == record.figures["random"]["black"]
    assert found.figures["centre"]["truth"]["psnr"].mean == math.inf


WRONG = [
    {"figures": []},
    {"figures": {"centre": {"black": {"psnr": {"mean": "high", "deviation": 1.0}}}}},
    {"figures": {"centre": {"black": {"psnr": 20.0}}}},
    {"by_picture": {"centre": {"black": {"psnr": ["high"]}}}},
    {"by_picture": {"centre": []}},
    {"items": ["a"]},
    {"items": 3},
    {"date": None},
    {"versions": []},
    {"protocol": {"data": None}},
    {"protocol": {"data": "a\0b"}},
    {"protocol": {"num": "many"}},
    {"protocol": {"holes": None}},
    {"protocol": {"step": 10**400}},
]


@pytest.mark.parametrize("change", WRONG, ids=lambda change: repr(change)[:50])
def test_a_record_with_values_of_a_wrong_kind_is_refused(change, record, tmp_path):
    path = tmp_path / "r.json"
    write_record(record, path)
    entry = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**entry, **change, "protocol": {**entry["protocol"], **change.get("protocol", {})}}))
    with pytest.raises(UserError, match=r"r\.json holds no inpainting results of attnorm evaluate"):
        read_record(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"date": 1' + "0" * 400 + "}"], ids=["deep", "large"])
def test_what_json_cannot_say_is_refused(text, tmp_path):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UserError, match=r"r\.json holds no inpainting results"):
        read_record(tmp_path / "r.json")


def test_the_lists_of_the_protocol_stay_lists(record, tmp_path):
    holes = {"centre": {"fraction": [0.25, 0.25]}}
    write_record(replace(record, protocol=replace(PROTOCOL, holes=holes)), tmp_path / "r.json")
    assert read_record(tmp_path / "r.json").protocol == replace(PROTOCOL, holes=holes)
