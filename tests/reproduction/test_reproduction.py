"""Reproducing a table: which commands are missing, continuing after a stop, and the report."""

import math
import os
import re
import signal
import sys
import threading
from dataclasses import replace

import pytest

from attnorm.cli import main
from attnorm.config import derive, parse_overrides, to_yaml
from attnorm.errors import UserError
from attnorm.presets import get_preset, presets
from attnorm.reproduction import runs
from attnorm.reproduction.paper import CLASSES, TABLES
from attnorm.reproduction.report import report
from attnorm.reproduction.runs import Reproduction, make_runs
from attnorm.training.loop import read_config
from tests.runs import write_record


@pytest.fixture
def plan(tmp_path):
    return Reproduction(
        table="table4",
        scale="cpu",
        out=tmp_path,
        data="digits",
        seeds=(0, 1),
        changes={"steps": 5, "device": "cpu"},
        protocol={"num": 40},
    )


def write(plan, run, values, by_class=None):
    """The record of a run, as `attnorm evaluate` writes it."""
    named = {f"{metric}-toy-40": value for metric, value in zip(plan.paper.metrics, values, strict=True)}
    write_record(plan.record_path(run), named, step=5, details={"by_class": by_class or {"cat": 1.0, "dog": 2.0}})


def cells(text, start):
    """The cells of the first row of the table that starts so."""
    line = next(line for line in text.splitlines() if re.match(rf"\| {re.escape(start)} *\|", line))
    return [cell.strip() for cell in line.split("|")[1:-1]]


@pytest.fixture
def calls(plan, monkeypatch):
    """The commands that were called, which leave what real ones would; and how the n-th of them is to end."""
    called, codes = [], {}

    def call(command):
        assert command[1:3] == ["-m", "attnorm"]
        words = command[3:]
        called.append(" ".join(words))
        code = codes.get(len(called), 0)
        folder = words[words.index("--out") + 1] if words[0] == "train" else words[1]
        system, seed, run = next(one for one in plan.runs() if str(one[2]) == folder)
        if words[0] != "evaluate":
            (run / "checkpoints" / f"step-{2 if code else 5}").mkdir(parents=True)
            changes = {"precision": "bf16", "generator.num_classes": 2, "discriminator.num_classes": 2}
            (run / "config.yaml").write_text(to_yaml(derive(plan.config(system, seed), changes)))
        elif not code:
            write(plan, run, (2.0 + seed, 30.0))
        return code

    monkeypatch.setattr(runs, "_call", call)
    return called, codes


def make(plan, **callbacks):
    return make_runs(plan, callbacks.get("say", len), callbacks.get("after_each", list))


def test_every_system_of_every_seed_is_trained_and_evaluated_once(plan, calls):
    called, _ = calls
    assert make(plan) == 0
    systems = list(TABLES["table4"].rows)
    assert [line.split()[0] for line in called] == ["train", "evaluate"] * 2 * len(systems)
    assert [line.split()[1] for line in called if line.startswith("train")] == [f"{s}-digits" for s in systems] * 2
    called.clear()
    assert make(plan) == 0 and called == []  # all is there


@pytest.mark.parametrize(("stopped", "next_command"), [(3, "resume"), (4, "evaluate")])
def test_after_a_stop_the_same_command_continues(stopped, next_command, plan, calls):
    called, codes = calls
    codes[stopped] = 130
    said, saved = [], []
    assert make(plan, say=said.append, after_each=lambda: saved.append(len(called))) == 130
    assert said[-1] == "stopped with exit code 130; the same command continues from here"
    assert saved == [2]  # after the first system
    called.clear()
    codes.clear()
    assert make(plan) == 0
    assert called[0].startswith(f"{next_command} {plan.out / 'an-gan-no-orth-digits-seed0'}")


def test_a_run_that_diverges_does_not_end_the_others(plan, calls):
    called, codes = calls
    codes[1] = 2
    said = []
    assert make(plan, say=said.append) == 2
    assert [line.split()[0] for line in called] == ["train", *["train", "evaluate"] * (len(list(plan.runs())) - 1)]
    assert any("ended with exit code 2; the same command tries it again" in line for line in said)


def test_a_folder_with_other_settings_is_refused_before_anything_is_done(plan, calls):
    called, _ = calls
    make(plan)
    called.clear()
    with pytest.raises(UserError, match=r"seed0 was started with another steps: give the same, or another --out"):
        make(replace(plan, changes={**plan.changes, "steps": 6}))
    assert called == []


def test_the_report_has_means_deviations_the_papers_row_and_the_warning(plan, calls):
    assert report(plan).count("0 of 2") == len(TABLES["table4"].rows)  # before the first run
    make(plan)
    text = report(plan)
    row = ["AN-GAN, no self-sampling", "37.86", "23.58", "2.5 ± 0.71", "30 ± 0", "2 of 2"]
    assert cells(text, row[0]) == row
    assert cells(text, "system") == ["system", "IS ↑, paper", "FID ↓, paper", "is-toy-40", "fd-toy-40", "seeds"]
    assert "**Do not compare our numbers with the paper's.**" in text
    for line in (
        "- data: `digits` instead of the paper's",
        "- `evaluate --num`: 40 instead of 50000",
        "- `evaluate --extractor`: efficientnet-lite0 instead of inception",
        "- `batch_size`: 32 instead of 256",
    ):
        assert line in text.splitlines(), line
    assert not re.search("`(seed|device|sample_every)`|per-class", text)
    assert text.count("    attnorm train") == text.count("    attnorm evaluate") == 12


def test_a_seed_that_diverged_shows_in_its_row_and_table_2_has_a_row_per_class(plan):
    by_class = replace(plan, table="table2")
    for system, seed, run in plan.runs():
        write(plan, run, (math.nan if system == "an-gan" and seed else 2.0, 30.0))
    for _, seed, run in by_class.runs():
        write(by_class, run, (7.0,), {"cat": 1.0 + seed, "dog": 2.0})
    assert cells(report(plan), "AN-GAN")[3:5] == ["nan ± nan", "30 ± 0"]
    assert cells(report(by_class), "cat") == ["cat", "–", "–", "–", *["1.5 ± 0.71"] * 3]


def test_at_the_papers_scale_everything_is_the_papers(plan):
    paper = replace(plan, table="table2", scale="paper", seeds=(0,), data="imagenet/", changes={}, protocol={})
    options = "--extractor inception --num 50000 --per-class 5000 --num-real 0 --frequencies uniform "
    options += "--classes 825 974 979 991 14 141 247 282 --out"
    assert report(paper).count(options) == 3
    names = {f"class {index}": float(index) for index in CLASSES}
    paper = replace(paper, changes={"steps": 5})
    for _, _, run in paper.runs():
        write(paper, run, (7.0,), names)
    assert cells(report(paper), "class 825")[1:] == ["49.3", "57.5", "34.16", "825", "825", "825"]
    for table in ("table1", "table2", "table3", "table4"):
        assert "Do not compare" not in report(replace(paper, table=table, changes={})), table
        assert "Do not compare" in report(replace(paper, table=table)), table
    assert "- `evaluate --per-class`: 50 instead of 5000" in report(replace(paper, protocol={"per-class": 50}))


def test_sigterm_is_passed_on_to_a_command_and_ctrl_c_is_left_to_it():
    child = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *a: sys.exit(143))\ntime.sleep(30)"
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()  # to this process only: ignored
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert runs._call([sys.executable, "-c", child]) == 143
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert runs._call([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]) == 137


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("table1", "--scale", "paper"), "--scale paper needs --data"),
        (("table3", "--scale", "cifar10"), "--scale cifar10 is not one of table3: choose from paper, cpu"),
        (("table3", "--extractor", "inception"), "table3 needs no feature network"),
        (("table4", "--extractor", "gone.pt"), "there is no file gone.pt"),
        (("table1", "--seed", "3"), "--seed is the seed of one run: give --seeds"),
    ],
)
def test_what_cannot_be_made_is_refused_before_any_training(arguments, sentence, tmp_path, capsys):
    assert main(["reproduce", *arguments, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_table_3_from_the_command_to_the_report(tmp_path, monkeypatch, tiny_inpainting_arguments):
    for system in TABLES["table3"].rows:
        name = f"{system}-128-cpu"
        changes = parse_overrides(tiny_inpainting_arguments, get_preset(name))
        monkeypatch.setitem(presets(), name, derive(get_preset(name), changes))
    called = []
    monkeypatch.setattr(runs, "_call", lambda command: called.append(command[3]) or main(list(command[3:])))
    table = ["reproduce", "table3", "--data", "digits", "--val-data", "digits", "--out", str(tmp_path)]
    table += ["--device", "cpu", "--num", "6", "--phases.at_step", "4", "--lr-schedule", "cosine"]
    assert main(table) == 0
    assert called == ["train", "evaluate"] * 3
    text = (tmp_path / "table3.md").read_text()
    assert cells(text, "AN")[1:4] == ["25.09", "0.8541", "0.0334"] and cells(text, "AN")[-1] == "1 of 1"
    assert {"PSNR ↑, paper", "PSNR ↑, centre", "MAE ↓, random", "SSIM ↑, strokes"} < set(cells(text, "system"))
    assert "**Do not compare our numbers" in text and "- `phases.at_step`: 4 instead of None" in text
    config = read_config(tmp_path / "inpaint-an-128-cpu-seed0")
    assert (config.phases.at_step, config.lr_schedule, config.val_data) == (4, "cosine", "digits")
    assert (tmp_path / "table3-curves.png").is_file()
    assert main(table) == 0 and len(called) == 6
