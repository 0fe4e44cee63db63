"""Reproducing a table: which commands are missing, going on after a stop, and the report."""

import math
import os
import signal
import sys
import threading
from dataclasses import replace

import pytest

from attnorm.cli import main
from attnorm.config import to_yaml
from attnorm.errors import UserError
from attnorm.metrics.records import Protocol, Record, write_records
from attnorm.reproduction import runs
from attnorm.reproduction.paper import CLASSES, NAMES, SCALES, TABLES
from attnorm.reproduction.report import write_report
from attnorm.reproduction.runs import Reproduction, commands, make_runs

NAMES_OF_CLASSES = ("cat", "dog")


@pytest.fixture
def plan(tmp_path):
    return Reproduction(
        table="table4",
        scale="cpu",
        out=tmp_path,
        source="digits",
        seeds=(0, 1),
        steps=5,
        extractor="efficientnet-lite0",
        num=40,
        device="cpu",
    )


def results_of(plan, values, names=NAMES_OF_CLASSES):
    protocol = Protocol(
        model="run",
        weights="ema",
        step=5,
        data="digits",
        split="digits",
        num=plan.num,
        seed=0,
        settings={"num_real": 40},
    )
    details = {"by_class": dict(zip(names, (1.0, 2.0), strict=True)), "per_class": plan.images_per_class}
    return [
        Record(
            metric=f"{'intra-fd' if key == 'intra' else key}-toy-40",
            values={"mean": value},
            better="higher" if key == "is" else "lower",
            details=details,
            protocol=protocol,
        )
        for key, value in zip(plan.paper.metrics, values, strict=True)
    ]


@pytest.fixture
def pretended(plan, monkeypatch):
    """Commands are written down, and leave what the real ones would; `codes` says how they end."""
    made, codes = [], {}

    def call(command):
        words = command[3:]  # after: python -m attnorm
        assert command[1:3] == ["-m", "attnorm"]
        made.append(" ".join(words))
        run = plan.out / (words[words.index("--out") + 1] if words[0] == "train" else words[1])
        system, seed = next((system, seed) for system, seed, folder in plan.runs() if folder == run)
        code = codes.get(len(made), 0)
        if words[0] != "evaluate":
            step = 2 if code else 5
            (run / "checkpoints" / f"step-{step}").mkdir(parents=True)
            config = plan.config(system, seed).model_copy(update={"precision": "bf16"}).for_classes(NAMES_OF_CLASSES)
            (run / "config.yaml").write_text(to_yaml(config))
        elif not code:
            write_records(results_of(plan, (2.0 + seed, 30.0)), plan.record_path(run))
        return code

    monkeypatch.setattr(runs, "_call", call)
    return made, codes


def test_every_system_of_every_seed_is_trained_and_measured_once(plan, pretended):
    made, _ = pretended
    seen = []
    assert make_runs(plan, lambda sentence: None, lambda: seen.append(len(made))) == 0
    systems = list(TABLES["table4"].printed)
    assert [line.split()[0] for line in made] == ["train", "evaluate"] * 2 * len(systems)
    assert [line.split()[1] for line in made if line.startswith("train")] == [f"{s}-cifar10-cpu" for s in systems] * 2
    assert seen == list(range(2, 4 * len(systems) + 1, 2))
    made.clear()
    assert make_runs(plan, lambda sentence: None, lambda: None) == 0
    assert made == []  # all is there


def test_a_stop_in_training_is_passed_on_and_the_same_command_resumes(plan, pretended):
    made, codes = pretended
    codes[3] = 130
    said = []
    assert make_runs(plan, said.append, lambda: None) == 130
    assert said[-1] == "stopped with exit code 130; the same command goes on from here"
    interrupted = plan.out / "an-gan-no-orth-cifar10-cpu-seed0"
    del made[:]
    codes.clear()
    assert make_runs(plan, said.append, lambda: None) == 0
    assert made[:2] == [f"resume {interrupted}", made[1]]
    assert made[1].startswith(f"evaluate {interrupted} --metrics is fd")


def test_a_stop_in_measuring_is_measured_again(plan, pretended):
    made, codes = pretended
    codes[2] = 143
    assert make_runs(plan, lambda sentence: None, lambda: None) == 143
    del made[:]
    codes.clear()
    assert make_runs(plan, lambda sentence: None, lambda: None) == 0
    assert made[0].startswith(f"evaluate {plan.out / 'an-gan-bn-cifar10-cpu-seed0'}")


def test_a_folder_with_other_settings_is_refused_before_anything_is_done(plan, pretended):
    made, _ = pretended
    make_runs(plan, lambda sentence: None, lambda: None)
    del made[:]
    with pytest.raises(UserError, match=r"seed0 was begun with other settings \(steps\)"):
        make_runs(replace(plan, steps=6), lambda sentence: None, lambda: None)
    assert made == []


def test_the_report_has_means_deviations_and_the_papers_row(plan, pretended):
    make_runs(plan, lambda sentence: None, lambda: None)
    lines = write_report(plan).splitlines()
    row = next(line for line in lines if line.startswith("| AN-GAN, no self-sampling "))
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "AN-GAN, no self-sampling",
        "37.86",
        "23.58",
        "2.5 ± 0.71",
        "30 ± 0",
        "2 of 2",
    ]
    assert "is-toy-40 ↑" in lines[2]
    assert "- `steps` 5 instead of 880000" in lines
    assert "- data: `digits` instead of ImageNet" in lines
    assert not any("seed" in line for line in lines if line.startswith("- `"))
    assert sum(line.startswith("    attnorm train") for line in lines) == 12


def test_the_report_before_the_first_run_says_what_is_missing(plan):
    text = write_report(plan)
    assert text.count("0 of 2") == len(TABLES["table4"].printed)
    assert "No run is finished yet." in write_report(replace(plan, table="table2"))


@pytest.mark.parametrize("lost", [(1,), (0, 1)])
def test_a_seed_that_diverged_is_said_and_the_table_goes_on(lost, plan, pretended):
    def measured():
        for system, seed, run in plan.runs():
            if system == "an-gan" and seed in lost and plan.record_path(run).is_file():
                write_records(results_of(plan, (math.nan, 30.0)), plan.record_path(run))
        write_report(plan)

    assert make_runs(plan, lambda sentence: None, measured) == 0
    row = next(line for line in write_report(plan).splitlines() if line.startswith("| AN-GAN  "))
    assert [cell.strip() for cell in row.split("|")[4:7]] == [f"not finite in {len(lost)} of 2", "30 ± 0", "2 of 2"]


def test_of_one_seed_that_diverged_the_table_has_nan(plan):
    one = replace(plan, seeds=(0,))
    for _, _, run in one.runs():
        write_records(results_of(one, (math.nan, math.inf)), one.record_path(run))
    rows = [line for line in write_report(one).splitlines() if line.endswith("| 1 of 1 |")]
    assert len(rows) == len(one.paper.printed)
    assert all([cell.strip() for cell in row.split("|")[4:6]] == ["nan", "nan"] for row in rows)


def test_a_class_whose_figure_is_not_finite_is_in_table_2(plan):
    for seeds, cells in (((0,), ("nan", "2")), ((0, 1), ("not finite in 1 of 2", "2 ± 0"))):
        by_class = replace(plan, table="table2", seeds=seeds)
        for _, seed, run in by_class.runs():
            results = results_of(by_class, (math.nan,))
            results[0].details["by_class"] = {"cat": math.nan if seed == 0 else 3.0, "dog": 2.0}
            write_records(results, by_class.record_path(run))
        for row, cell in zip(write_report(by_class).splitlines()[4:6], cells, strict=True):
            assert [one.strip() for one in row.split("|")[5:8]] == [cell] * 3


def test_table_2_is_by_class(plan, pretended):
    by_class = replace(plan, table="table2", seeds=(0,))
    for _, _, run in by_class.runs():
        write_records(results_of(by_class, (7.0,)), by_class.record_path(run))
    lines = write_report(by_class).splitlines()
    assert [cell.strip() for cell in lines[4].split("|")[1:-1]] == ["cat", "–", "–", "–", "1", "1", "1"]


def changed(result, **changes):
    return result.model_copy(update=changes)


OTHERS = {
    "too few metrics": lambda results: results[:1],
    "too many metrics": lambda results: [*results, results[0]],
    "another order": lambda results: results[::-1],
    "another metric": lambda results: [results[0], changed(results[1], metric="kd-toy-40"), results[2]],
    "no classes": lambda results: [results[0], changed(results[1], details={}), results[2]],
    "another number per class": lambda results: [
        results[0],
        changed(results[1], details=results[1].details | {"per_class": 50}),
        results[2],
    ],
    "another number of images": lambda results: [
        changed(results[0], protocol=changed(results[0].protocol, num=30)),
        *results[1:],
    ],
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_record_of_other_figures_is_named_before_anything_is_done(name, plan, pretended, capsys):
    made, _ = pretended
    table = replace(plan, table="table1", seeds=(0,))
    for _, _, run in table.runs():
        write_records(results_of(table, (1.0, 2.0, 3.0)), table.record_path(run))
    assert "1 of 1" in write_report(table)
    path = table.record_path(list(table.runs())[2][2])
    write_records(OTHERS[name](results_of(table, (1.0, 2.0, 3.0))), path)
    options = ["--data", "digits", "--steps", "5", "--num", "40", "--device", "cpu", "--out", str(plan.out)]
    assert main(["reproduce", "table1", *options]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"{path} has other figures than table1 (fd, intra, is): remove it" in err
    assert made == [] and not (plan.out / "table1.md").exists()


def test_classes_that_are_not_the_same_for_all_runs_are_refused(plan):
    by_class = replace(plan, table="table2")
    for _, seed, run in by_class.runs():
        names = ("cat", "dog") if seed else ("cat", "cow")
        write_records(results_of(by_class, (7.0,), names), by_class.record_path(run))
    with pytest.raises(UserError, match="measured on other classes each"):
        write_report(by_class)


def test_table_2_measures_and_shows_the_papers_classes_at_its_scale(plan):
    by_class = replace(plan, table="table2", scale="paper", seeds=(0,), extractor="inception")
    for _, _, run in by_class.runs():
        results = results_of(by_class, (7.0,))
        results[0].details["by_class"] = {f"class {number}": float(number) for number in CLASSES}
        write_records(results, by_class.record_path(run))
    report = write_report(by_class)
    rows = [line for line in report.splitlines() if line.startswith("| class ")][1:]
    assert [row.split("|")[1].strip() for row in rows] == [f"class {number}" for number in CLASSES]
    assert [cell.strip() for cell in rows[0].split("|")[2:8]] == ["49.3", "57.5", "34.16", "825", "825", "825"]
    assert "Ours is measured with the paper's numbers of images" in report
    fewer = write_report(replace(by_class, per_class=50))
    assert "**Do not compare our numbers with the paper's**: ours have an intra-FID of 50 images per class" in fewer


def test_at_the_papers_scale_generators_are_measured_as_in_the_papers(plan):
    paper = Reproduction("table2", "paper", plan.out, "imagenet/", (0,), None, "inception", 50_000, "cpu")
    measuring = [line for line in commands(paper) if line.startswith("attnorm evaluate")]
    assert len(measuring) == 3
    options = "--num-real 0 --frequencies uniform --per-class 5000 --classes 825 974 979 991 14 141 247 282 --out"
    assert all(f"--extractor inception --num 50000 {options}" in line for line in measuring)
    assert all("intra-inception-n50000-real-all-uniform-per-class5000.json --force" in line for line in measuring)
    lines = write_report(paper).splitlines()
    assert "- generated pictures: 50000, as many of each class" in lines
    assert any(line.startswith("- intra-FID: 5000 generated images of each class against all real") for line in lines)
    assert any(line.startswith("- real pictures: all; ") for line in lines)
    assert any(line.startswith("- weights: averaged; ") for line in lines)


def test_the_report_says_how_it_was_measured(plan, pretended):
    assert "- real pictures: 40; " in write_report(plan)
    make_runs(plan, lambda sentence: None, lambda: None)
    text = write_report(plan)
    of_two_classes = "each class as often as in the data, 20 on average"
    assert f"- generated pictures: 40 instead of 50000, {of_two_classes}" in text
    assert "- network of the metrics: efficientnet-lite0 instead of Inception" in text
    assert "--num-real" not in text and "--frequencies" not in text
    assert "**Do not compare our numbers with the paper's**: ours have other data than ImageNet, features of" in text


@pytest.mark.parametrize(
    ("extractor", "sentence"), [("nope", "unknown extractor 'nope'"), ("gone.pt", "cannot read gone.pt")]
)
def test_a_network_of_the_metrics_that_is_not_there_is_refused_before_any_training(
    extractor, sentence, plan, pretended, capsys
):
    made, _ = pretended
    options = ["--data", "digits", "--seeds", "0", "1", "--steps", "5", "--num", "40", "--device", "cpu"]
    command = ["reproduce", "table4", *options, "--out", str(plan.out), "--extractor", extractor]
    assert main(command) == 2
    assert sentence in capsys.readouterr().err
    assert made == [] and list(plan.out.iterdir()) == []
    make_runs(plan, lambda sentence: None, lambda: None)
    measured = replace(plan, extractor=extractor)
    for _, _, run in measured.runs():
        write_records(results_of(measured, (2.0, 30.0)), measured.record_path(run))
    assert main(command) == 0  # where all is measured, nothing needs it


def test_every_table_names_systems_that_exist():
    for table in TABLES.values():
        assert set(table.printed) <= set(NAMES)
    assert SCALES["paper"].source is None


def test_a_command_ends_with_its_own_code():
    assert runs._call([sys.executable, "-c", "raise SystemExit(7)"]) == 7
    assert runs._call([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]) == 137


def test_sigterm_is_passed_on_and_ctrl_c_is_left_to_the_child():
    child = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *a: sys.exit(143))\ntime.sleep(30)"
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()  # to this process only: ignored
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    assert runs._call([sys.executable, "-c", child]) == 143
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["table1", "--scale", "paper"], "--scale paper needs --data"),
        (["table1", "--seeds", "1", "1"], "--seeds names a seed twice"),
        (["table1", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["table1", "--num", "0"], "--num must be at least 1, got 0"),
        (["table7"], "invalid choice: 'table7'"),
    ],
)
def test_mistakes_are_one_line(arguments, sentence, tmp_path, capsys):
    assert main(["reproduce", *arguments, "--out", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_several_processes_evaluate_as_one_does(tmp_path, finished_run):
    """torchrun has options of its own that ours look like."""
    out = tmp_path / "record.json"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--"]
    command = ["attnorm", "evaluate", str(finished_run), "--metrics", "kid", "--num", "12", "--out", str(out)]
    assert runs._call([*launcher, *command]) == 0
    assert out.is_file()


def test_a_launcher_stands_before_every_command(tmp_path, monkeypatch, capsys):
    made = []
    monkeypatch.setattr(runs, "_call", lambda command: (made.append(command), 7)[1])
    monkeypatch.setattr("attnorm.cli.reproduce.shutil.which", lambda program: f"/bin/{program}")
    arguments = ["--data", "digits", "--out", str(tmp_path), "--launcher", "torchrun --nproc-per-node 2"]
    assert main(["reproduce", "table4", *arguments]) == 7
    assert made[0][:6] == ["torchrun", "--nproc-per-node", "2", "-m", "--", "attnorm"]
