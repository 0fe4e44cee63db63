"""Without a group everything is one process; with two, see test_evaluation."""

import socket

import pytest

from attnorm.errors import UserError
from attnorm.metrics import processes
from attnorm.metrics.processes import (
    anywhere,
    check_alike,
    first_process_first,
    launched_count,
    launched_group,
    rank_and_count,
)
from tests.two_processes import run_two

LAUNCHED = {"RANK": "1", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def launched(monkeypatch):
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)


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


def test_a_group_on_cuda_needs_cuda(launched, monkeypatch):
    monkeypatch.setattr(processes.torch.cuda, "is_available", lambda: False)
    with (
        pytest.raises(UserError, match="PyTorch cannot use the device 'cuda' here: choose cpu"),
        launched_group("cuda"),
    ):
        pass


def test_a_launcher_says_how_many_there_are(launched):
    assert launched_count() == 2


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("WORLD_SIZE", "two", "WORLD_SIZE is 'two', and must be a number from 1"),
        ("WORLD_SIZE", "0", "WORLD_SIZE is '0'"),
        ("WORLD_SIZE", "9" * 5000, "WORLD_SIZE is '999"),
        ("RANK", None, "RANK is not set"),
        ("RANK", "2", "RANK is '2', and must be a number from 0 to 1"),
        ("LOCAL_RANK", "x", "LOCAL_RANK is 'x'"),
        ("MASTER_ADDR", None, "MASTER_ADDR is not set"),
        ("MASTER_PORT", "70000", "MASTER_PORT is '70000', and must be a number from 0 to 65535"),
    ],
)
def test_what_a_launcher_got_wrong_is_a_sentence(name, value, problem, launched, monkeypatch):
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(UserError, match=f"{problem}.*start several with torchrun, or unset") as caught,
        launched_group("cpu"),
    ):
        pass
    assert len(str(caught.value)) < 400


def test_processes_that_cannot_meet_say_where_and_why(launched, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        monkeypatch.setenv("MASTER_PORT", port)
        monkeypatch.setenv("RANK", "0")
        with (
            pytest.raises(UserError, match=rf"cannot meet at 127.0.0.1:{port} \(.*address already in use\)"),
            launched_group("cpu"),
        ):
            pass


def others_have(monkeypatch, *facts):
    """Makes this process the first of several, of which the others have these facts."""

    def gathered(every, ours):
        every[:] = [ours, *facts]

    monkeypatch.setattr(processes, "rank_and_count", lambda: (0, 1 + len(facts)))
    monkeypatch.setattr(processes.distributed, "all_gather_object", gathered)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"seed": 0, "steps": 8}, "steps is 12 in process 0 and 8 in process 2: do better"),
        ({"seed": 0}, "steps is 12 in process 0 and not there in process 2"),
        ({"seed": 0, "steps": 12, "more": [1] * 999}, r"more is not there in process 0 and \[1, .*… in process 2"),
    ],
)
def test_processes_that_differ_are_refused_with_the_difference(other, said, monkeypatch):
    facts = {"seed": 0, "steps": 12}
    others_have(monkeypatch, facts, other)
    with pytest.raises(UserError, match=f"the processes do not do the same: {said}") as caught:
        check_alike(facts, "do better")
    assert len(str(caught.value)) < 300


def test_processes_that_are_alike_go_on(monkeypatch):
    check_alike({"seed": 0}, "do better")
    others_have(monkeypatch, {"seed": 0})
    check_alike({"seed": 0}, "do better")


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
    ended = run_two(lambda rank: ["-c", ENDING_FIRST])
    said = [process.stderr for process in ended]
    assert said[0] == "there is nothing at nowhere\n"
    assert (
        said[1].splitlines()[-1].startswith("process 1 has lost another one of its group, which says why if it could")
    )
    assert "Traceback" not in said[1]
    assert [process.returncode for process in ended] == [1, 1]
