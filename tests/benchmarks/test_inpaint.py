"""Two networks in processes of their own take turns, and end with the measurement."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from attnorm.benchmarks import inpaint, inpaint_child, measuring
from attnorm.benchmarks.inpaint import KINDS, Child, Setting, as_text, bars, run
from attnorm.cli import main
from attnorm.errors import UserError


@pytest.fixture(autouse=True)
def _short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SAMPLE_SECONDS", 0.0)


def test_both_layers_are_measured_in_processes_that_end(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[Child] = []

    class Watched(Child):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            children.append(self)

    monkeypatch.setattr(inpaint, "Child", Watched)
    seen: list[int] = []
    report = run(Setting(sizes=(64,), modes=("native",), width=4, rounds=2), lambda r: seen.append(len(r["figures"])))
    assert seen == [2]
    json.dumps(report)
    assert [child._process.poll() is not None for child in children] == [True, True]
    assert [f["kind"] for f in report["figures"]] == list(KINDS)
    for figure, child in zip(report["figures"], children, strict=True):
        assert len(figure["times"]) == 2
        assert figure["memory"] == child.memory
    ours = report["figures"][0]
    assert f"{ours['median']:.2f}" in as_text(report)
    assert len(bars(report)) == 2


def test_what_does_not_fit_never_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "free_memory", lambda device: 1 << 20)
    monkeypatch.setattr(inpaint, "Child", lambda *_: pytest.fail("started"))
    report = run(Setting(sizes=(64,), modes=("native",), width=4, rounds=1))
    assert "CA, 64 x 64, native: needs" in as_text(report)
    assert next(iter(bars(report).values()))["native"] == {"AN": None, "CA": None}


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(UserError, match="ended with exit code"):
        Child("attentive_norm", 64, "native", 5, 1)  # an odd width is refused


def test_contextual_attention_is_foreseen_to_take_the_square() -> None:
    ours, theirs = ([inpaint_child.bytes_needed(kind, size, "native", 32) for size in (256, 1024)] for kind in KINDS)
    assert ours[1] == 16 * ours[0]
    assert theirs[1] > 30 * theirs[0]
    assert inpaint_child.bytes_needed("attentive_norm", 1024, "crop", 32) < ours[1] / 3


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_has_the_layer_that_it_is_said_to_have(kind: str) -> None:
    pipeline = inpaint_child.make_pipeline(kind, 4)
    assert pipeline.generator.config.branch.kind == kind
    hole = inpaint_child._hole(64)
    assert hole.sum() == 16 * 16
    picture = inpaint_child._noise(64)
    (found,) = pipeline.fill([picture], [hole], "native")
    assert np.array_equal(found[~hole], picture[~hole])
    assert not np.array_equal(found[hole], picture[hole])


def test_the_process_answers_every_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("sys.stdin", iter(["\n", "\n"]))
    order = {"kind": "attentive_norm", "size": 64, "mode": "resize", "width": 4, "threads": torch.get_num_threads()}
    inpaint_child.main(json.dumps(order))
    memory, *answers = map(json.loads, capsys.readouterr().out.splitlines())
    assert memory is None or memory >= 0
    assert answers == [None, None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "16"], "--sizes must be at least 32"),
        (["--limit", "0"], "--limit positive"),
        (["--width", "5"], "--width: generator.width must be even"),
        (["--modes", "whole"], "--modes"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(arguments: list[str], message: str, capsys) -> None:
    assert main(["bench", "inpaint", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""
