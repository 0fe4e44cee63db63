"""What a run says and records."""

import errno
import json
import os
import re
import shlex
import threading
import time

import pytest

from attnorm.errors import UserError
from attnorm.training import journal as journal_module
from attnorm.training.journal import Journal, resume_command

FILES = ("log.jsonl", "metrics.jsonl")


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves by hand."""
    now = [100.0]
    monkeypatch.setattr(journal_module.time, "perf_counter", lambda: now[0])
    return now


def journal_of(run, *, start=0, tensorboard=False, speak=True):
    return Journal(run, start=start, steps=500, batch_size=8, tensorboard=tensorboard, speak=speak)


def lines(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_every_record_is_a_line_of_json_with_rates(tmp_path, clock):
    before = time.time()
    with journal_of(tmp_path) as journal:
        clock[0] += 10
        journal.record(50, {"loss_g": 1.25})
        clock[0] += 5
        journal.record(100, {"loss_g": -0.5})
    first, second = lines(tmp_path)
    assert (first["step"], first["loss_g"], first["steps_per_second"], first["images_per_second"]) == (50, 1.25, 5, 40)
    assert (second["step"], second["loss_g"], second["steps_per_second"]) == (100, -0.5, 10)
    assert before <= first["time"] <= second["time"] <= time.time()


def test_figures_that_json_has_no_number_for_are_null(tmp_path):
    def strict(name):
        raise AssertionError(f"{name} is no JSON")

    with journal_of(tmp_path) as journal:
        journal.record(1, {"loss_g": float("nan"), "gradient_g": 2.0})
        journal.record_evaluation(1, {"refined.centre.psnr": float("inf")})
    log, found = (json.loads((tmp_path / name).read_text(), parse_constant=strict) for name in FILES)
    assert (log["loss_g"], log["gradient_g"], found["refined.centre.psnr"]) == (None, 2.0, None)


def test_a_line_is_on_disk_as_soon_as_it_is_recorded(tmp_path):
    with journal_of(tmp_path) as journal:
        journal.record(1, {})
        assert len(lines(tmp_path)) == 1


def test_a_resumed_run_appends_and_counts_its_rate_from_where_it_starts(tmp_path, clock):
    with journal_of(tmp_path) as journal:
        journal.record(50, {})
    with journal_of(tmp_path, start=100) as journal:
        clock[0] += 10
        journal.record(150, {})
    assert [line["step"] for line in lines(tmp_path)] == [50, 150]
    assert lines(tmp_path)[1]["steps_per_second"] == 5


def test_a_resumed_run_drops_what_it_does_again_and_what_a_crash_cut_short(tmp_path):
    with journal_of(tmp_path) as journal:
        for step in (50, 100, 150):
            journal.record(step, {"loss_g": float(step)})
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 200, "loss')
    with journal_of(tmp_path, start=100) as journal:
        journal.record(150, {"loss_g": -1.0})
    assert [(line["step"], line["loss_g"]) for line in lines(tmp_path)] == [(50, 50.0), (100, 100.0), (150, -1.0)]


@pytest.mark.parametrize("name", ["log.jsonl", "metrics.jsonl"])
@pytest.mark.parametrize("damage", [b'{"step": 5, "x\xff\xfe', b'{"step": 5, "x\xff": 1}\n', b"\x00\x80\n"])
def test_a_line_that_is_no_text_is_dropped(name, damage, tmp_path):
    good = b'{"step": 50, "loss_g": 1.0}\n'
    (tmp_path / name).write_bytes(good + damage)
    with journal_of(tmp_path, start=100):
        assert (tmp_path / name).read_bytes() == good


def test_the_command_that_goes_on_can_be_typed_as_it_is_printed(tmp_path):
    run = tmp_path / "my long rün's"
    assert shlex.split(resume_command(run)) == ["attnorm", "resume", str(run)]
    run.mkdir()
    with pytest.raises(UserError) as caught, journal_of(run) as journal, journal._writing():
        raise OSError("no room")
    assert str(caught.value).endswith(f"go on with: {resume_command(run)}")


def test_without_a_terminal_a_record_is_one_plain_line_with_step_rate_and_time_left(tmp_path, clock, capsys):
    with journal_of(tmp_path) as journal:
        clock[0] += 10
        journal.advance(50)
        journal.record(50, {"loss_g": 1.23456, "generator.blocks.2.norm2.effective_entities": 12.0})
    out = capsys.readouterr().out
    assert out.count("\n") == 1  # not wrapped at 80 columns
    assert "\x1b" not in out
    assert "step 50/500" in out
    assert "loss_g 1.23 " in out
    assert "images_per_second 40 " in out
    assert re.search(r"1\.5 min left$", out.strip())  # 450 steps at 5 a second


def test_sentences_are_printed_as_they_are(tmp_path, capsys):
    sentence = "stopped; go on with: attnorm resume runs/[bold]odd[/bold] " + "x" * 100
    with journal_of(tmp_path) as journal:
        journal.say(sentence)
    assert capsys.readouterr().out == sentence + "\n"


def test_a_silent_journal_prints_and_writes_nothing(tmp_path, capsys):
    with journal_of(tmp_path, speak=False, tensorboard=True) as journal:
        journal.say("hello")
        journal.advance(1)
        journal.record(1, {"loss_g": 1.0})
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_in_the_thread_of_tensorboard_is_one_sentence(tmp_path, monkeypatch, capsys):
    record_writer = pytest.importorskip("tensorboard.summary.writer.record_writer")
    hook, failed = threading.excepthook, threading.Event()

    def full(*arguments):
        failed.set()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(record_writer.RecordWriter, "write", full)
    with (
        pytest.raises(UserError, match=r"cannot write the log in .* \(No space left on device\)"),
        journal_of(tmp_path, tensorboard=True),
    ):
        assert failed.wait(60)
    assert "Traceback" not in capsys.readouterr().err
    assert threading.excepthook is hook


def test_other_threads_that_fail_are_shown_as_ever(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    with journal_of(tmp_path, tensorboard=True):
        thread = threading.Thread(target=int, args=("no number",))
        thread.start()
        thread.join()
    assert [failure.exc_type for failure in seen] == [ValueError]


def test_tensorboard_has_the_figures_and_a_resume_keeps_those_up_to_its_start(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with journal_of(tmp_path, tensorboard=True) as journal:
        for step in (50, 100, 150):  # the checkpoint is of step 100: 150 is done again
            journal.record(step, {"loss_g": float(step)})
    with journal_of(tmp_path, start=100, tensorboard=True) as journal:
        journal.record(150, {"loss_g": -1.0})
    board = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [(e.step, e.value) for e in board.Scalars("loss_g")] == [(50, 50.0), (100, 100.0), (150, -1.0)]
