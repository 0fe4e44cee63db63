"""What a run records and shows."""

import io
import json
import math
import re
import sys
from functools import partial
from unittest.mock import MagicMock

import pytest
from rich.console import Console

from attnorm.training import logger as logger_module
from attnorm.training.config import TrainingConfig
from attnorm.training.logger import Logger, read_log
from tests.runs import DIGITS, refused

SHOWN = ("loss_d", "loss_g", "generator.*.sharpness")
METRICS = {"loss_d": 1.23456, "loss_g": -0.0012345, "generator.blocks.2.norm2.sharpness": 0.5, "score_real": 3.0}


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves by hand."""
    now = [100.0]
    monkeypatch.setattr(logger_module.time, "perf_counter", lambda: now[0])
    return now


def logger_of(run, start=0, enabled=True, **fields):
    config = TrainingConfig(**{"steps": 500, "batch_size": 8, "log_to": "none"} | fields)
    return Logger(run, config, start, SHOWN, enabled=enabled)


def lines(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_every_record_is_on_disk_at_once_with_rates(tmp_path, clock):
    with logger_of(tmp_path) as logger:
        clock[0] += 10
        logger.record(50, {"loss_g": 1.25})
        first = lines(tmp_path)[0]
        logger.record_evaluation(50, {"fd": 3.0})
        clock[0] += 5
        logger.record(100, {"loss_g": -0.5})
    second = lines(tmp_path)[1]
    assert (first["step"], first["loss_g"], first["steps_per_second"], first["images_per_second"]) == (50, 1.25, 5, 40)
    assert (second["step"], second["loss_g"], second["steps_per_second"]) == (100, -0.5, 10)
    assert first["time"] <= second["time"]


def test_a_log_is_read_by_step_without_the_clock_and_what_is_not_finite_is_null(tmp_path):
    with logger_of(tmp_path) as logger:
        logger.record_evaluation(1, {"fd": 2.0, "psnr": math.inf})
        logger.record_evaluation(3, {"fd": 1.0})
    file = tmp_path / "metrics.jsonl"
    assert '"psnr": null' in file.read_text()
    with file.open("a") as log:
        log.write('{"step": 4, "fd')  # torn
    found = read_log(file)
    assert math.isnan(found[1].pop("psnr"))
    assert found == {1: {"fd": 2.0}, 3: {"fd": 1.0}}


@pytest.mark.promise
def test_a_resumed_run_drops_what_it_does_again_and_what_a_crash_cut_short(tmp_path, clock):
    with logger_of(tmp_path) as logger:
        for step in (50, 100, 150):
            logger.record(step, {"loss_g": float(step)})
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 200, "loss')
    with logger_of(tmp_path, start=100) as logger:
        clock[0] += 10
        logger.record(150, {"loss_g": -1.0})
    assert [(line["step"], line["loss_g"]) for line in lines(tmp_path)] == [(50, 50.0), (100, 100.0), (150, -1.0)]
    assert lines(tmp_path)[-1]["steps_per_second"] == 5


def test_tensorboard_has_the_metrics_and_a_resume_keeps_those_up_to_its_start(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with logger_of(tmp_path, log_to="tensorboard") as logger:
        for step in (50, 100, 150):  # the checkpoint is of step 100: 150 is done again
            logger.record(step, {"loss_g": float(step)})
    with logger_of(tmp_path, start=100, log_to="tensorboard") as logger:
        logger.record(150, {"loss_g": -1.0})
    board = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("loss_g")] == [(50, 50.0), (100, 100.0), (150, -1.0)]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_trackers_get_the_metrics_of_every_process_that_continues_a_run_as_one(name, tmp_path, monkeypatch):
    """Against a stub: neither service was tried."""
    monkeypatch.setitem(sys.modules, name, stub := MagicMock())
    (tmp_path / "config.yaml").write_text("seed: 3")
    for start, step in ((0, 50), (50, 100)):
        with logger_of(tmp_path, start=start, log_to=name) as logger:
            logger.record(step, {"loss_g": 1.5})
    (tmp_path / "tracker-id").unlink()  # as where another run was trained at the same path
    with logger_of(tmp_path, log_to=name):
        begun = {"project": "attnorm", "config": {"seed": 3}, "resume": "allow"}
    first, again, other = (call.kwargs for call in stub.init.call_args_list)
    assert first == again and first.items() >= begun.items() and first["name"].startswith(f"{tmp_path.name}-")
    assert first["name"] != other["name"] and ("id" in first) == (name == "wandb")
    assert name != "wandb" or first["id"] != other["id"]
    assert [call.kwargs for call in stub.log.call_args_list] == [{"step": 50}, {"step": 100}]
    assert stub.log.call_args.args[0]["loss_g"] == 1.5 and stub.finish.call_count == 3


def test_a_missing_tracker_is_refused_before_anything_is_written(tmp_path, tiny_arguments, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    message = refused(capsys, *DIGITS, tmp_path / "run", *tiny_arguments, "--log-to", "wandb")
    assert "the package 'wandb' is missing: pip install '.[wandb]'" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.promise
def test_in_a_pipe_a_record_is_one_plain_line(tmp_path, clock, capsys):
    with logger_of(tmp_path) as logger:
        clock[0] += 10
        logger.advance(50)
        logger.record(50, METRICS)
        logger.print("stopped: attnorm resume runs/[bold]odd[/bold] " + "x" * 100)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "step 50/500  0:01:30 left  40 images/s  loss_d 1.23  loss_g -0.00123  sharpness 0.5"
    assert second == "stopped: attnorm resume runs/[bold]odd[/bold] " + "x" * 100  # neither wrapped nor interpreted


@pytest.mark.promise
@pytest.mark.parametrize(("columns", "start", "steps"), [(80, 0, 500), (200, 0, 500), (80, 880_000, 1_000_000)])
def test_the_progress_bar_is_one_line_with_time_left_and_metrics(columns, start, steps, tmp_path, monkeypatch):
    written, now = io.StringIO(), [0.0]
    console = partial(Console, file=written, force_terminal=True, width=columns)
    monkeypatch.setattr(logger_module, "Console", console)

    def bar():
        written.truncate(0)
        logger._progress.refresh()
        (line,) = set(re.findall(r"step [^\r\n]*", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.getvalue())))
        return line.rstrip()

    with logger_of(tmp_path, start=start, steps=steps) as logger:
        logger._progress.get_time = lambda: now[0]
        bars = [bar()]
        for step in range(1, 5):  # four steps a second
            now[0] += 0.25
            logger.advance(start + step)
            bars.append(bar())
            if step == 3:
                logger.record(start + 3, METRICS)
        logger.record_evaluation(start + 4, {"fd": 3.2})
        assert "evaluated at step" in written.getvalue()
    assert re.fullmatch(rf"step {start}/{steps} [━╸╺ ]+ starting", bars[0])
    left = "0:02:04" if start == 0 else "8:19:59"
    assert re.fullmatch(rf"step {start + 3}/{steps} [━╸╺ ]{{8,}} {left} left  32 images/s", bars[3])
    metrics = "  loss_d 1.23  loss_g -0.00123  sharpness 0.5"
    shown = {80: "  loss_d 1.23" if start else "  loss_d 1.23  loss_g -0.00123"}.get(columns, metrics)
    assert re.fullmatch(rf"step {start + 4}/{steps} [━╸╺ ]{{8,}} {left} left  32 images/s{shown}", bars[4])
    assert max(map(len, bars)) <= columns
