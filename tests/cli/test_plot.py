"""Curves from the command line, read back from SVG."""

import json
import re
import shutil
import sys

import pytest
from PIL import Image

LAYOUT = "generator.blocks.2.norm2"


def make_run(folder, steps=(100, 200, 300), log=("loss_d", "loss_g", "score_real", "images_per_second"), metrics=()):
    folder.mkdir(parents=True)
    lines = [json.dumps({"step": s, "time": 1e9, **dict.fromkeys(log, s / 100)}) for s in steps]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    if metrics:
        (folder / "metrics.jsonl").write_text("".join(f'{{"step": {s}, "fd": {f}}}\n' for s, f in metrics))
    return folder


@pytest.fixture
def runs(tmp_path):
    entities = (f"{LAYOUT}.effective_entities", f"{LAYOUT}.sharpness")
    return [
        make_run(tmp_path / "runs" / "an", metrics=[(200, 50), (300, 40)], log=("loss_d", "loss_g", *entities)),
        make_run(tmp_path / "runs" / "sn"),
    ]


def texts(path):
    return re.findall(r"<!-- (.*?) -->", path.read_text())


def panels(out):
    """The figures named in what the command prints."""
    return out.splitlines()[0].partition(": ")[2].split(", ")


def test_metrics_losses_and_layouts_are_shown_by_default(runs, tmp_path, output):
    path = tmp_path / "curves.svg"
    out, err = output("plot", *runs, "-o", path)
    assert panels(out) == ["fd", "loss_d", "loss_g", f"{LAYOUT}.effective_entities", f"{LAYOUT}.sharpness"]
    assert set(panels(out)) <= set(texts(path))
    assert out.splitlines()[1] == "--figures can also show: images_per_second, score_real"
    assert err == ""
    said = texts(path)
    assert said.count("an") == said.count("sn") == 1  # one legend for all panels
    assert "thin: as logged; thick: exponential average with a half-life of 6 steps" in said


def test_a_real_run_is_drawn(finished_run, tmp_path, output):
    path = tmp_path / "new" / "curves.png"
    out = output("plot", finished_run, "-o", path).out
    assert {"loss_d", "loss_g", f"{LAYOUT}.sharpness"} <= set(panels(out))
    with Image.open(path) as chart:
        assert chart.width > 1400  # three panels


def test_of_a_real_inpainting_run_the_metrics_that_tell_most_are_shown(finished_inpainting_run, tmp_path, output):
    run = shutil.copytree(finished_inpainting_run, tmp_path / "run")
    output("evaluate", run, "--num", 2)
    out, err = output("plot", run, "-o", tmp_path / "curves.svg")
    assert err == ""
    metrics = [f"refined.{kind}.{figure}" for kind in ("centre", "random") for figure in ("psnr", "ssim")]
    measured = panels(out)[: 1 + 2 * len(metrics)]
    assert set(measured) == {"l1", *metrics, *(f"{name}-2" for name in metrics)}
    assert all("loss" in name or "generator." in name for name in panels(out)[len(measured) :])
    others = out.splitlines()[1]
    assert "coarse.centre.psnr, " in others and "mean colour.random.mae-2" in others


def test_records_of_evaluate_are_metrics(runs, tmp_path, output):
    (runs[1] / "metrics").mkdir()
    record = {"metric": "kid-5k", "values": {"value": 0.1}, "protocol": {"step": 200}}
    (runs[1] / "metrics" / "step-200.json").write_text(json.dumps([record]))
    assert panels(output("plot", *runs, "-o", tmp_path / "c.svg").out)[:2] == ["fd", "kid-5k"]


def test_figures_are_chosen_by_name_or_pattern_in_their_order(runs, tmp_path, output):
    chosen = ["score_real", "loss_*", "loss_d"]
    out = output("plot", *runs, "--figures", *chosen, "-o", tmp_path / "c.svg").out
    assert panels(out) == ["score_real", "loss_d", "loss_g"]
    assert len(out.splitlines()) == 1


def test_a_whole_name_means_that_figure(tmp_path, output):
    run = make_run(tmp_path / "run", log=("fd[5k]", "fd5"))
    assert panels(output("plot", run, "--figures", "fd[5k]", "-o", tmp_path / "c.svg").out) == ["fd[5k]"]


def test_a_run_without_any_of_the_default_figures_shows_all(tmp_path, output):
    run = make_run(tmp_path / "run", log=("a", "b"))
    assert panels(output("plot", run, "-o", tmp_path / "c.svg").out) == ["a", "b"]


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path, output):
    runs = [make_run(tmp_path / folder / "run") for folder in ("first", "second")]
    output("plot", *runs, "-o", tmp_path / "c.svg")
    assert {"first/run", "second/run"} <= set(texts(tmp_path / "c.svg"))


def test_names_for_the_legend_can_be_given(runs, tmp_path, output):
    output("plot", *runs, "--names", "AN-GAN", "SN-GAN*", "-o", tmp_path / "c.svg")
    assert {"AN-GAN", "SN-GAN*"} <= set(texts(tmp_path / "c.svg"))


def test_smoothing_can_be_set_and_turned_off(runs, tmp_path, output):
    path = tmp_path / "c.svg"
    output("plot", *runs, "--smooth", "123", "-o", path)
    assert any("half-life of 123 steps" in text for text in texts(path))
    output("plot", *runs, "--smooth", "0", "-o", path, "--force")
    assert not any("half-life" in text for text in texts(path))


def test_what_is_left_out_is_said(runs, tmp_path, output):
    with (runs[0] / "log.jsonl").open("a") as log:
        log.write('nonsense\n{"step": 400, "loss_d": 4}\n{"step": 500, "lo')
    err = output("plot", *runs, "-o", tmp_path / "c.svg").err
    assert err == f"{runs[0] / 'log.jsonl'}: 1 of 6 lines cannot be read and are left out\n"


def line_of(path, colour="#0072b2"):
    """The commands of the one curve in a chart: M where the line begins anew, L where it goes on."""
    [line] = [
        text
        for text, style in re.findall(r'<path d="([^"]*)" clip-path[^>]* style="([^"]*)"', path.read_text())
        if f"stroke: {colour}" in style
    ]
    return "".join(re.findall("[ML]", line))


def test_the_line_has_a_gap_where_a_figure_was_not_finite(tmp_path, output):
    for name, values, drawn in (
        ("gap", ("1", "2", "null", "2", "3"), "MLML"),
        ("end", ("1", "2", "3", "null", "null"), "MLL"),
        ("older", ("1", "2", "NaN", "Infinity", "4", "5"), "MLML"),
    ):
        (tmp_path / name).mkdir()
        lines = [f'{{"step": {step}, "loss_d": {value}}}\n' for step, value in enumerate(values)]
        (tmp_path / name / "log.jsonl").write_text("".join(lines))
        path = tmp_path / f"{name}.svg"
        assert output("plot", tmp_path / name, "--smooth", "0", "-o", path).err == ""
        assert line_of(path) == drawn


def test_a_log_of_nulls_alone_has_its_panels(tmp_path, output):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text('{"step": 1, "loss_d": null}\n{"step": 2, "loss_d": null}\n')
    for smooth in ("0", "5"):
        path = tmp_path / f"{smooth}.svg"
        assert panels(output("plot", tmp_path / "run", "--smooth", smooth, "-o", path).out) == ["loss_d"]


@pytest.mark.parametrize(
    "spoilt", ['{"step": 1' + "0" * 400 + "}", '{"step": 1' + "0" * 30 + ', "loss_d": 1}', "[" * 100_000]
)
def test_numbers_beyond_measure_and_deep_json_are_left_out(spoilt, runs, tmp_path, output):
    with (runs[0] / "log.jsonl").open("a") as log:
        log.write(spoilt + "\n")
    (runs[0] / "metrics").mkdir()
    (runs[0] / "metrics" / "a.json").write_text(spoilt)
    err = output("plot", *runs, "-o", tmp_path / "c.svg").err.splitlines()
    assert err[0] == f"{runs[0] / 'log.jsonl'}: 1 of 4 lines cannot be read and are left out"
    assert err[1:] == [f"{runs[0] / 'metrics'}: 1 file(s) hold no records of attnorm evaluate and are left out"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nothing"], "nothing has no log.jsonl: give the folder of a run"),
        ([], "required: RUN"),
        (["runs/an", "--figures", "los_d"], "no run has a figure 'los_d', did you mean 'loss_d'? (there are"),
        (["runs/an", "--figures", "x*"], "no run has a figure 'x*'"),
        (["runs/an", "runs/an"], "a run is named twice"),
        (["runs/an", "runs/sn", "--names", "a"], "--names has 1 names for 2 runs"),
        (["runs/an", "runs/sn", "--names", "a", "a"], "--names has a name twice"),
        (["runs/an", "--smooth", "-1"], "--smooth must be 0 or a number of steps, got -1"),
        (["runs/an", "--smooth", "nan"], "--smooth must be"),
    ],
)
def test_it_refuses_what_it_cannot_draw(arguments, part, runs, refused):
    assert part in refused("plot", *arguments, "-o", "c.png")


def test_another_format_and_an_existing_chart_are_refused(runs, refused, tmp_path):
    assert "must end in a format such as .png" in refused("plot", runs[0], "-o", "c.xyz")
    (tmp_path / "c.png").write_text("mine")
    assert "give --force to overwrite it" in refused("plot", runs[0], "-o", "c.png")


def test_without_matplotlib_the_remedy_is_named(runs, refused, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = refused("plot", runs[0], "-o", "c.png")
    assert message == "a chart needs the package 'matplotlib': pip install 'attnorm[figures]'"
