"""Whether a goal was met follows from the records, and from nothing else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from attnorm.benchmarks.goals import GOALS, as_text
from attnorm.cli import main

MACHINE = {"processor": "a processor", "threads": 2, "vector_instructions": "AVX512", "torch": "2", "attnorm": "0"}


def figure(median: float, **place: Any) -> dict[str, Any]:
    return {"median": median, "times": [median, 2 * median], "memory": 100.0, "skipped": None, **place}


def layer(times: dict[str, float], sizes: tuple[int, ...], slope: float = 1.0) -> dict[str, Any]:
    """The operator takes so many times as long as instance norm, by pass."""
    figures = []
    for which, factor in times.items():
        for size in sizes:
            for name, seconds in (("instance_norm", 1.0), ("regional_norm cpp", factor)):
                figures.append(figure(seconds, size=size, name=name, **{"pass": which}))
    setting = {"sizes": list(sizes), "passes": list(times), "batch": 1, "channels": 32, "entities": 16, "rounds": 2}
    setting |= {"dtype": "float32", "channels_last": False}
    exponents = {which: {"regional_norm cpp": slope} for which in times}
    return {"benchmark": "layer", "machine": MACHINE, "setting": setting, "figures": figures, "exponents": exponents}


def train(ours: float, plain: float, convolutions: float) -> dict[str, Any]:
    figures = [
        figure(seconds, size=size, system=system, variant=variant, batch=4, images_per_second=4 / seconds)
        for size in (32, 64, 128)
        for system, variant, seconds in (
            ("sn-gan-star", "ours", 1.0),
            ("sa-gan", "ours", 1.2),
            ("an-gan", "ours", ours),
            ("an-gan", "plain", plain),
        )
    ]
    profiles = [
        {"size": size, "system": "an-gan", "shares": {"convolutions": convolutions, "other layers": 1 - convolutions}}
        for size in (32, 64)
    ]
    setting = {"networks": "cpu", "precision": "bf16", "rounds": 2}
    return {"benchmark": "train", "machine": MACHINE, "setting": setting, "figures": figures, "profiles": profiles}


def data(rate: float, size: int = 128) -> dict[str, Any]:
    rates = {("prefetching thread", 16): rate, ("prefetching thread", 64): 2 * rate, ("prepared map", 16): rate / 9}
    rates["prepared map", 64] = rate
    figures = [
        figure(1.0, reader=reader, batch=batch, workers=None, images_per_second=value)
        for (reader, batch), value in rates.items()
    ]
    setting = {"size": size, "batches": [16, 64], "rounds": 2}
    return {"benchmark": "data", "machine": MACHINE, "setting": setting, "figures": figures}


SIZES = (128, 256, 512, 1024)
REACHED = {
    "layer": layer({"forward": 1.2, "training": 2.5}, SIZES),
    "layer-bf16": layer({"forward": 1.2, "training": 2.5}, SIZES),
    "layer-wide": layer({"forward": 2.0}, (32,)),
    "layer-growth": layer({"forward": 1.2}, (*SIZES, 2048), slope=1.1),
    "train": train(1.05, 2.0, 0.75),
    "data": data(20_000),
}
MISSED = {
    "layer": layer({"forward": 2.01, "training": 2.51}, SIZES),
    "layer-bf16": layer({"forward": 2.01, "training": 2.51}, SIZES),
    "layer-wide": layer({"forward": 2.01}, (32,)),
    "layer-growth": layer({"forward": 1.2}, (*SIZES, 2048), slope=1.11),
    "train": train(1.21, 1.8, 0.74),
    "data": data(19_999),
}


def test_goals_on_their_bounds_are_met() -> None:
    assert [goal.row(REACHED)[-1] for goal in GOALS] == ["yes"] * len(GOALS)
    assert as_text(REACHED).startswith(f"{len(GOALS)} of {len(GOALS)} goals met, 0 not met, 0 not measured")


def test_goals_that_are_missed_by_little_are_missed() -> None:
    found = {goal.row(MISSED)[-1] for goal in GOALS if "memory" not in goal.about}
    assert found == {"no"}
    heavy = copy.deepcopy(REACHED["layer"])
    for one in heavy["figures"]:
        one["memory"] = 331.0
    rows = [goal.row({"layer": heavy}) for goal in GOALS if "memory" in goal.about]
    assert [row[3:] for row in rows] == [["331 MB", "no"]] * 2


def test_without_figures_nothing_is_met() -> None:
    empty = {
        name: {**record, "figures": [], "profiles": [], "exponents": {"forward": {}}}
        for name, record in REACHED.items()
    }
    for records in ({}, empty):
        assert {goal.row(records)[-1] for goal in GOALS} == {"–"}


def test_a_growth_over_fewer_sizes_or_smaller_pictures_tell_nothing() -> None:
    short = {"layer-growth": layer({"forward": 1.0}, SIZES), "data": data(1e6, size=64)}
    assert {goal.row(short)[-1] for goal in GOALS if goal.record in short} == {"–"}


def test_the_page_has_the_goals_every_table_and_the_charts(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    for name, record in REACHED.items():
        (folder / f"{name}.json").write_text(json.dumps(record))
    (folder / "train.png").write_bytes(b"")
    assert main(["bench", "report", str(folder), "-o", str(tmp_path / "docs" / "page.md")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "docs" / "page.md")
    page = (tmp_path / "docs" / "page.md").read_text()
    assert f"{len(GOALS)} of {len(GOALS)} goals met" in page
    assert all(f"## {name}\n" in page for name in REACHED)
    assert "![train](../records/train.png)" in page
    assert "an-gan, plain" in page
    assert main(["bench", "report", str(folder)]) == 0
    assert "## train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("other.txt", "", "there is no record in"),
        ("a.json", "{", "cannot read"),
        ("a.json", '{"benchmark": "sleep", "machine": {}, "figures": []}', "does not know, 'sleep'"),
        ("a.json", '{"benchmark": "data", "machine": {}, "figures": []}', "a.json is incomplete"),
    ],
)
def test_what_is_no_record_is_told(name: str, text: str, message: str, tmp_path: Path, capsys) -> None:
    (tmp_path / name).write_text(text)
    assert main(["bench", "report", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert main(["bench", "report", str(tmp_path), "-o", "page.txt"]) == 2
    assert "must end in .md" in capsys.readouterr().err
