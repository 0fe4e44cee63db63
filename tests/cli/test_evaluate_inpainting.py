"""`attnorm evaluate` of an inpainting run: figures, reference fills, record, sheet, and everything that it refuses."""

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from attnorm.data.builtin import load_builtin
from attnorm.data.masks import Masks
from attnorm.metrics.fills import mean_colour
from attnorm.metrics.inpainting import HOLES
from attnorm.metrics.reconstruction import reconstruction, structural_similarity
from attnorm.metrics.records import read_record
from tests.two_processes import run_two

NAME = "step-0000006-digits-held-out-n12-gaussian-seed0"


@pytest.fixture
def run(finished_inpainting_run, tmp_path):
    return shutil.copytree(finished_inpainting_run, tmp_path / "runs" / "run")


@pytest.fixture
def without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)


def noise_pictures(folder, count):
    folder.mkdir()
    for i in range(count):
        noise = np.random.default_rng(i).integers(0, 256, (50, 70, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")


def test_held_out_pictures_are_measured_beside_simpler_fills(run, output):
    pytest.importorskip("cv2")
    out, err = output("evaluate", run, "--num", 12)
    assert err == ""
    record = read_record(run / "metrics" / f"{NAME}.json")
    assert list(record.figures) == ["centre", "random", "strokes"]
    assert list(record.figures["centre"]) == ["refined", "coarse", "mean colour", "Telea"]
    protocol = record.protocol
    assert (protocol.weights, protocol.step, protocol.data, protocol.num) == ("ema", 6, "digits", 12)
    assert (protocol.size, protocol.split, protocol.window) == (32, "digits-held-out", "gaussian")
    shown = record.figures["random"]["refined"]["psnr"]
    assert f"| random  | refined     | {shown.mean:.2f} ± {shown.deviation:.2f} |" in out
    assert "12 pictures of digits-held-out, 32 pixels a side" in out
    with Image.open(run / "metrics" / f"{NAME}.png") as sheet:
        assert sheet.height > 16 * 128


def test_the_figures_of_a_fill_are_those_worked_out_by_hand(run, output, without_opencv):
    _, err = output("evaluate", run, "--num", 12, "--window", "uniform", "--seed", 5, "--out", run / "r.json")
    assert err == "OpenCV is not installed, so Telea's fill is left out: pip install 'attnorm[eval]'\n"
    record = read_record(run / "r.json")
    figures = record.figures
    pictures = load_builtin("digits", 36).images
    held_out = np.sort(np.random.default_rng(0).permutation(1797)[:180])
    assert record.items == held_out[np.arange(12) * 180 // 12].tolist()
    truth = pictures[record.items, 2:34, 2:34]
    for kind, holes in HOLES.items():
        masks = Masks(holes, (32, 32)).batch(5, range(12))
        filled = mean_colour(truth, masks)
        expected = reconstruction(truth, filled, masks, "uniform")
        for name, values in expected._asdict().items():
            assert record.by_picture[kind]["mean colour"][name] == pytest.approx(values.tolist())
            found = figures[kind]["mean colour"][name]
            assert found.mean == pytest.approx(values.mean())
            assert found.deviation == pytest.approx(values.std())
        assert expected.ssim == pytest.approx(structural_similarity(truth, filled, "uniform"))
        assert set(figures[kind]) == {"refined", "coarse", "mean colour"}


def test_the_same_seed_gives_the_same_figures_and_picture(run, output, without_opencv):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        output("evaluate", run, "--num", 4, "--seed", seed, "--out", run / f"{name}.json")
    a, b, c = (read_record(run / f"{name}.json").figures for name in "abc")
    assert a == b
    assert a["centre"] == c["centre"] and a["random"] != c["random"]
    a, b, c = ((run / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_another_size_and_some_kinds_of_masks(run, output, without_opencv):
    out, _ = output("evaluate", run / "best-phase-1", "--num", 3, "--size", 48, "--masks", "strokes", "centre")
    name = "step-0000002-best-phase-1-digits-held-out-48px-strokes-centre-n3-gaussian-seed0.json"
    record = read_record(run / "metrics" / name)
    assert (record.protocol.size, list(record.protocol.holes)) == (48, ["strokes", "centre"])
    assert record.protocol.holes["strokes"]["kind"] == "lines"
    assert list(record.figures) == ["strokes", "centre"]
    error = 255 * record.figures["strokes"]["refined"]["hole_mae"].mean
    assert "MAE in the mask, 0 to 255 ↓" in out and f"{error:.2f} ±" in out
    truth = load_builtin("digits", 48).images[record.items]
    masks = Masks(HOLES["centre"], (48, 48)).batch(0, range(3))
    expected = reconstruction(truth, mean_colour(truth, masks), masks).hole_mae.mean()
    assert record.figures["centre"]["mean colour"]["hole_mae"].mean == pytest.approx(expected)


def test_other_pictures_and_a_saved_model(run, output, tmp_path, without_opencv):
    noise_pictures(tmp_path / "pictures", 3)
    model = shutil.copytree(run / "model", tmp_path / "elsewhere" / "model")
    output("evaluate", model, "--data", tmp_path / "pictures", "--out", tmp_path / "r.json")
    protocol = read_record(tmp_path / "r.json").protocol
    assert (protocol.num, protocol.weights, protocol.step, protocol.split) == (3, "unknown", 6, "pictures")


def test_the_runs_own_pictures_are_held_out_however_they_are_named(run, output, tmp_path, monkeypatch, without_opencv):
    monkeypatch.chdir(tmp_path)
    noise_pictures(tmp_path / "pics", 12)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("data: digits", "data: pics", 1))
    for number, name in enumerate(("./pics", tmp_path / "pics")):
        output("evaluate", run, "--data", name, "--out", run / f"{number}.json")
        protocol = read_record(run / f"{number}.json").protocol
        assert protocol.num == 1  # a tenth of 12, and none that the network was trained on
        assert protocol.split.endswith("-held-out")


def test_the_best_model_and_the_weights_without_averaging_are_measured_with_their_step(run, output, without_opencv):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max(lines[1:], key=lambda line: sum(line[f"refined.{kind}.psnr"] for kind in HOLES))  # of phase 2
    output("evaluate", run / "best", "--num", 6)
    output("evaluate", run, "--num", 6, "--weights", "raw")
    output("evaluate", run, "--num", 6)
    names = {"best": f"step-{best['step']:07d}-best", "raw": "step-0000006-raw", "ema": "step-0000006"}
    found = {
        key: read_record(run / "metrics" / f"{name}-digits-held-out-n6-gaussian-seed0.json")
        for key, name in names.items()
    }
    protocols = {key: (record.protocol.weights, record.protocol.step) for key, record in found.items()}
    assert protocols == {"best": ("ema", best["step"]), "raw": ("raw", 6), "ema": ("ema", 6)}
    # The same pictures and holes as while it trained.
    shown = found["best"].figures["centre"]["refined"]["psnr"].mean
    assert shown == pytest.approx(best["refined.centre.psnr"], rel=1e-6)
    assert found["raw"].figures["centre"] != found["ema"].figures["centre"]


def test_composites_are_measured_as_a_set_by_option(run, output, without_opencv):
    out, _ = output("evaluate", run, "--num", 10, "--metrics", "fd", "--out", run / "r.json")
    assert out.count("| fd-efficientnet-lite0-10 ↓ |") == 3
    distances = json.loads((run / "r.json").read_text())["distances"]
    assert list(distances) == list(HOLES)
    assert distances["centre"][0]["values"] != distances["random"][0]["values"]


def test_what_cannot_be_measured_is_refused(run, finished_run, tmp_path, refused):
    assert "--window is for inpainting models" in refused("evaluate", finished_run, "--window", "uniform")
    assert "--num-real is for class-conditional models" in refused("evaluate", run, "--num-real", 3)
    assert "--size must be a multiple of 4" in refused("evaluate", run, "--size", 50)
    assert "intra compares classes" in refused("evaluate", run, "--metrics", "intra")
    assert "--num must be at least 1, got 0" in refused("evaluate", run, "--num", 0)
    assert "--num asks for 181 pictures, and digits-held-out has 180" in refused("evaluate", run, "--num", 181)
    model = shutil.copytree(run / "model", tmp_path / "elsewhere" / "model")
    assert "give --data" in refused("evaluate", model, "--out", tmp_path / "r.json")
    assert "no run to keep the record in" in refused("evaluate", model, "--data", "digits")
    assert "must end in .json" in refused("evaluate", run, "--out", tmp_path / "r.txt")
    assert "there is no run or model at none" in refused("evaluate", "none")
    (run / "metrics").mkdir()
    (run / "metrics" / f"{NAME}.json").write_text("mine")
    assert "exists already: give --force" in refused("evaluate", run, "--num", 12)


def test_two_processes_measure_what_one_does(run, output):
    output("evaluate", run, "--num", 9, "--out", run / "one.json")
    command = ["-m", "attnorm", "evaluate", str(run), "--num", "9", "--out", str(run / "two.json")]
    assert [process.returncode for process in run_two(lambda rank: command)] == [0, 0]
    one, two = (read_record(run / f"{name}.json").figures for name in ("one", "two"))
    for kind, ways in one.items():
        for way, figures in ways.items():
            for name, spread in figures.items():
                assert spread.mean == pytest.approx(two[kind][way][name].mean, rel=1e-6)
