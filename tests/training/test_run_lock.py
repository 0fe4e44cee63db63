"""A second training into a run's folder is refused; a killed one holds nobody off."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from attnorm.cli import main
from attnorm.errors import UserError
from attnorm.training.run_lock import LOCK, run_lock

HOLDING = """
import sys, time
from pathlib import Path
from attnorm.training.run_lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""
DIGITS = ("train", "an-gan-digits", "--data", "digits", "--out")


@pytest.fixture
def holder(run_copy):
    """Another process that trains there, as far as the lock can tell."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(run_copy)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_run_that_is_being_trained_is_refused_and_kept(holder, run_copy, capsys):
    before = {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    assert main(["resume", str(run_copy), "--steps", "8"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"attnorm: error: {run_copy} is being trained by process {holder.pid} of ")
    assert said.endswith(": wait for its end, or stop it first\n")
    assert {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()} == before


def test_a_killed_training_holds_nobody_off(holder, run_copy, finished_run):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (run_copy / LOCK).read_text().startswith(f"process {holder.pid} of ")
    assert main(["resume", str(run_copy)]) == 0


def test_a_lock_that_a_start_which_came_to_nothing_has_left_does_not_stop_the_next(tiny_arguments, tmp_path):
    with run_lock(tmp_path / "run"):
        pass
    assert main([*DIGITS, str(tmp_path / "run"), *tiny_arguments]) == 0


def test_of_two_starts_at_once_one_is_refused(tiny_arguments, tmp_path, monkeypatch, capsys):
    """The other one has written its configuration between our first look and the lock."""
    run = tmp_path / "run"

    def late(path):
        path.mkdir()
        (path / "config.yaml").write_text("another's")
        return run_lock(path)

    monkeypatch.setattr("attnorm.training.loop.run_lock", late)
    assert main([*DIGITS, str(run), *tiny_arguments]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert (run / "config.yaml").read_text() == "another's"


def test_without_room_or_locks_the_training_goes_on(tmp_path, monkeypatch):
    def no_locks(*arguments):
        raise OSError("no locks here")

    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", no_locks)
        with run_lock(tmp_path):
            pass
    (tmp_path / LOCK).unlink()
    (tmp_path / LOCK).mkdir()  # what cannot be opened
    with run_lock(tmp_path):
        pass


def test_a_full_disk_leaves_the_sentence_of_what_needs_the_room(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(UserError, match="no room for it"), run_lock(tmp_path):
        raise UserError("no room for it")


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*file/run"), run_lock(tmp_path / "file" / "run"):
        pass
