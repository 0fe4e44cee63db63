"""`attnorm reproduce table3`: its runs, its records and its table, with networks that train in a second."""

import json

import pytest

from attnorm.cli import main
from attnorm.config import override
from attnorm.presets import PRESETS, get_preset
from attnorm.reproduction import runs
from attnorm.training.loop import read_config

SYSTEMS = ("inpaint-ca", "inpaint-an", "inpaint-plain")


@pytest.fixture
def called(monkeypatch, tiny_inpainting_arguments):
    """The commands that a table makes, run in this process with tiny presets."""
    for system in SYSTEMS:
        name = f"{system}-128-cpu"
        monkeypatch.setitem(PRESETS, name, override(get_preset(name), tiny_inpainting_arguments))
    commands = []

    def call(command):
        commands.append(command[3:])
        return main(list(command[3:]))

    monkeypatch.setattr(runs, "_call", call)
    return commands


def test_all_systems_beside_the_papers_figures_and_the_simple_fills(called, tmp_path, capsys):
    table = ["reproduce", "table3", "--data", "digits", "--out", str(tmp_path), "--device", "cpu"]
    table += ["--num", "6", "--phase-1-steps", "4"]
    assert main(table) == 0
    assert [command[0] for command in called] == ["train", "evaluate"] * 3
    text = (tmp_path / "table3.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "25.09" in rows["AN"] and "0.8541" in rows["AN"] and "0.0334" in rows["AN"]
    assert "23.78" in rows["CA"]
    assert {"no long-range layer", "AN, coarse stage alone", "mean colour"} < rows.keys()
    assert "PSNR ↑, centre" in rows["system"] and "MAE ↓, random" in rows["system"]
    assert all("1 of 1" in rows[name] for name in ("AN", "CA", "no long-range layer"))
    assert "data: `digits` instead of Paris StreetView" in text
    assert "`phases.at_step` 4 instead of None" in text
    for system in SYSTEMS:
        run = tmp_path / f"{system}-128-cpu-seed0"
        assert (
            f"attnorm train {system}-128-cpu --data digits --out {run} --seed 0 --device cpu --phases.at_step 4" in text
        )
        assert read_config(run).phases.at_step == 4
    called.clear()
    assert main(table) == 0
    assert called == []
    record = tmp_path / "inpaint-an-128-cpu-seed0" / "metrics" / "inpainting-n6.json"
    measured = record.read_text()
    for change in (
        lambda entry: [one for one in entry if not one["metric"].startswith("random/")],
        lambda entry: [one for one in entry if one["metric"] != "centre/refined"],
        lambda entry: [one["values"].pop("ssim") and one for one in entry],
    ):
        entry = change(json.loads(measured))
        record.write_text(json.dumps(entry))
        capsys.readouterr()
        assert main(table) == 2
        err = capsys.readouterr().err
        assert f"{record} has other figures than table3 (psnr, ssim, mae): remove it" in err and err.count("\n") == 1
    record.write_text(measured)
    capsys.readouterr()
    assert main([*table[:-1], "2"]) == 2
    assert "was begun with other settings (phases)" in capsys.readouterr().err


def test_validation_pictures_and_the_learning_rates_fall_reach_the_runs(called, tmp_path):
    table = ["reproduce", "table3", "--data", "digits", "--val-data", "digits", "--out", str(tmp_path), "--num", "4"]
    assert main([*table, "--steps", "2", "--lr-schedule", "cosine"]) == 0
    config = read_config(tmp_path / "inpaint-an-128-cpu-seed0")
    assert config.val_data == "digits"
    assert config.lr_schedule == "cosine"
    assert all("--lr_schedule cosine" in " ".join(command) for command in called if command[0] == "train")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("table3", "--scale", "cifar10"), "--scale cifar10 is not one of table3: choose from paper, cpu"),
        (("table3", "--extractor", "inception"), "table3 needs no feature network"),
        (("table1", "--val-data", "x"), "--val-data and --phase-1-steps are for table3"),
        (("table3", "--phase-1-steps", "-1"), "--phase-1-steps must be at least 0"),
        (("table3", "--scale", "paper"), "--scale paper needs --data"),
    ],
)
def test_what_does_not_fit_a_table_is_refused(arguments, part, tmp_path, capsys):
    assert main(["reproduce", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
