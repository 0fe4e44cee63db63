"""A handful of mistakes as a person makes them: in a shell, with a process of their own."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bad_input.conftest import picture, save, snapshot

CASES = [
    (["trian"], 'unknown command "trian"'),
    (["resume", "file"], "file is no run"),
    (["inpaint", "painter", "file", "hole.png", "-o", "out.png"], "file: not an image in a known format"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0][0])
def test_a_mistake_in_a_process_is_one_line_and_exit_code_2(case, world):
    arguments, part = case
    before = snapshot(world)
    command = [sys.executable, "-m", "attnorm", *arguments]
    # In plain ASCII, as on an old terminal: letters that it has not must not be a traceback.
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(command, cwd=world, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("attnorm: error: ") and done.stderr.count("\n") == 1, done.stderr
    assert part in done.stderr
    assert snapshot(world) == before


def test_letters_that_a_terminal_has_not_are_escaped(world):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "attnorm", "data", "inspect", "prepared"]
    done = subprocess.run(command, cwd=world, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "16\\xd716" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["models", "--json"], ["--help"]], ids=" ".join)
def test_an_output_that_cannot_be_written_is_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "attnorm", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1 and os.strerror(errno.ENOSPC) in done.stderr


def test_json_is_json_whatever_letters_the_terminal_has(tmp_path):
    save(picture(), tmp_path / "pictures" / "klasse-ß" / "1.png")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "attnorm", "data", "inspect", "pictures", "--json"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["classes"]) == ["klasse-ß"]
