"""Every reader reads every picture, from files that are gone afterwards."""

from __future__ import annotations

import itertools
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnorm.benchmarks import data, measuring
from attnorm.benchmarks.data import JPEG, MAP, THREAD, Setting, as_text, bars
from attnorm.cli import main
from attnorm.data.batches import batch_indices

SHORT = Setting(size=8, batches=(3, 4), pictures=10, jpegs=4, rounds=2)


@pytest.fixture(autouse=True)
def _short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SAMPLE_SECONDS", 0.0)


def test_the_report_has_every_reader_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    report = data.run(SHORT)
    assert list(tmp_path.iterdir()) == []
    json.dumps(report)
    readers = {(f["reader"], f["batch"]) for f in report["figures"]}
    assert readers == {*itertools.product((MAP, THREAD), (3, 4)), (JPEG, None)}
    for figure in report["figures"]:
        assert figure["images_per_second"] == pytest.approx((4 if figure["reader"] == JPEG else 10) / figure["median"])
    text = as_text(report)
    assert f"{report['figures'][0]['images_per_second']:,.0f}" in text
    assert next(iter(bars(report).values())).keys() == {"batches of 3", "batches of 4"}
    assert JPEG not in as_text(data.run(Setting(size=8, batches=(4,), pictures=10, jpegs=0, rounds=1)))


@pytest.mark.parametrize("read", [data._read_map, data._read_ahead])
def test_a_call_reads_as_many_pictures_as_there_are(read, tmp_path: Path) -> None:
    dataset = data._write_map(tmp_path / "map", SHORT)
    assert len(dataset) == 10
    assert dataset.images.std() > 50
    seen: list[tuple[int, ...]] = []

    class Watched:
        def batch(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            seen.append(tuple(indices))
            return dataset.batch(indices)

    calls = itertools.count()
    order = partial(batch_indices, 10, batch_size=5, seed=0)
    for call in range(2):  # each an epoch of its own; the thread may have read further
        seen.clear()
        read(Watched(), order, 2, calls)
        assert seen[:2] == [tuple(order(2 * call)), tuple(order(2 * call + 1))]


def test_the_files_are_photographs_in_size(tmp_path: Path) -> None:
    data._write_jpegs(tmp_path, 2)
    files = sorted(tmp_path.rglob("*.jpg"))
    assert [path.parent.name for path in files] == ["a", "b"]
    assert all(30_000 < path.stat().st_size < 150_000 for path in files)
    assert Image.open(files[0]).size == data.JPEG_SIZE


def test_the_command_writes_tables_json_and_a_chart(tmp_path, capsys) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["--size", "8", "--batches", "4", "--pictures", "10", "--jpegs", "2", "--rounds", "1"]
    files = ["--json", str(tmp_path / "data.json"), "--plot", str(tmp_path / "data.png")]
    assert main(["bench", "data", *arguments, *files]) == 0
    assert "8 x 8 pictures" in capsys.readouterr().out
    assert json.loads((tmp_path / "data.json").read_text())["benchmark"] == "data"
    assert (tmp_path / "data.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batches", "4", "0"], "--batches must be at least 1, got 0"),
        (["--size", "0"], "size of the images must be from 1"),
        (["--pictures", "1"], "--pictures must be at least 2"),
        (["--jpegs", "1"], "--jpegs 0 or at least 2"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(arguments: list[str], message: str, capsys) -> None:
    assert main(["bench", "data", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""
