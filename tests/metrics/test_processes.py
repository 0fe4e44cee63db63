"""Without a group everything is one process; with two, see test_evaluation."""

import os
import socket
import subprocess
import sys

import pytest

from attnorm.errors import UserError
from attnorm.metrics import collecting, processes
from attnorm.metrics.processes import anywhere, first_process_first, launched_group, rank_and_count
from tests.metrics.toy import draw, evaluator


def test_one_process_is_the_first_of_one():
    assert rank_and_count() == (0, 1)
    assert anywhere(True) is True
    assert anywhere(False) is False
    with first_process_first():
        pass


@pytest.mark.parametrize("size", [None, "1"])
def test_who_was_not_launched_with_others_joins_no_group(size, monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if size:
        monkeypatch.setenv("WORLD_SIZE", size)
    with launched_group("cuda") as device:
        assert device == "cuda"
        assert rank_and_count() == (0, 1)


def test_a_group_on_cuda_needs_cuda(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes.torch.cuda, "is_available", lambda: False)
    with (
        pytest.raises(UserError, match="PyTorch cannot use the device 'cuda' here: choose cpu"),
        launched_group("cuda"),
    ):
        pass


ENDING_FIRST = """
import sys
from attnorm.errors import UserError
from attnorm.metrics.processes import first_process_first, launched_group, rank_and_count
try:
    with launched_group("cpu"), first_process_first():
        if rank_and_count()[0] == 0:
            raise UserError("there is nothing at nowhere")
except UserError as error:
    sys.exit(str(error))
"""


def test_who_loses_another_process_says_so_in_a_sentence():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ENDING_FIRST],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=300)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert said[0] == "there is nothing at nowhere\n"
    assert (
        said[1].splitlines()[-1].startswith("process 1 has lost another one of its group, which says why if it could")
    )
    assert "Traceback" not in said[1]
    assert [process.returncode for process in started] == [1, 1]


def test_more_processes_than_batches_are_a_sentence(monkeypatch):
    monkeypatch.setattr(collecting, "rank_and_count", lambda: (0, 16))
    sentence = (
        "60 real pictures in batches of 4 cannot be shared by 16 processes: take more pictures or fewer processes"
    )
    with pytest.raises(UserError, match=sentence):
        evaluator(metrics=["fd"]).measure(draw)
