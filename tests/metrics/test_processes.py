"""Without a group everything is one process; with two, see test_evaluation."""

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
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(processes.torch.cuda, "is_available", lambda: False)
    with (
        pytest.raises(UserError, match="PyTorch cannot use the device 'cuda' here: choose cpu"),
        launched_group("cuda"),
    ):
        pass


def test_more_processes_than_batches_are_a_sentence(monkeypatch):
    monkeypatch.setattr(collecting, "rank_and_count", lambda: (0, 16))
    sentence = (
        "60 real pictures in batches of 4 cannot be shared by 16 processes: take more pictures or fewer processes"
    )
    with pytest.raises(UserError, match=sentence):
        evaluator(metrics=["fd"]).measure(draw)
