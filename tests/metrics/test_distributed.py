"""Without a group everything is one process; with two, see tests/metrics/test_evaluation.py."""

import pytest

from attnorm.errors import UserError
from attnorm.metrics import distributed
from attnorm.metrics.distributed import check_alike, joined
from tests.runs import python, two_ranks


def test_processes_that_cannot_connect_say_why(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")  # but no RANK, which torchrun sets
    with pytest.raises(UserError, match=r"RANK expected, but not set\): start them with torchrun"), joined("cpu"):
        pass


def test_processes_that_differ_are_refused_with_the_difference(monkeypatch):
    def gathered(every, ours):
        every[:] = [ours, ours, {"seed": 0, "steps": 8}]

    monkeypatch.setattr(distributed, "rank_and_count", lambda: (0, 3))
    monkeypatch.setattr(distributed.distributed, "all_gather_object", gathered)
    with pytest.raises(UserError, match="the processes differ: steps is 12 in process 0 and 8 in process 2: do better"):
        check_alike({"seed": 0, "steps": 12}, "do better")


ENDING_FIRST = """
import sys
from attnorm.errors import UserError
from attnorm.metrics.distributed import main_first, joined, rank_and_count
try:
    with joined("cpu"), main_first():
        if rank_and_count()[0] == 0:
            raise UserError("there is nothing at nowhere")
except UserError as error:
    sys.exit(str(error))
"""


@pytest.mark.promise
def test_a_process_that_loses_another_says_so_in_a_sentence():
    ended = python("-c", ENDING_FIRST, environments=two_ranks())
    assert ended[0].stderr == "there is nothing at nowhere\n"
    assert ended[1].stderr.splitlines()[-1].startswith("process 1 has lost another process of its group")
    assert "Traceback" not in ended[1].stderr
    assert [process.returncode for process in ended] == [1, 1]
