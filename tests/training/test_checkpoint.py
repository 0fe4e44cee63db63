"""Checkpoints survive crashes, damage is noticed, and nothing in them is executed."""

import errno
import os
import pickle
import zlib

import pytest
import torch

from attnorm import files
from attnorm.errors import UserError
from attnorm.training import checkpoint
from attnorm.training.checkpoint import Manifest
from tests.runs import contents


def state_of(step):
    return {"step": step, "task": {"weights": torch.full((50,), float(step)), "nested": {"numbers": [1, 2.5, "x"]}}}


@pytest.fixture
def folder(tmp_path):
    """The checkpoints of steps 2, 4 and 6."""
    for step in (2, 4, 6):
        checkpoint.save(tmp_path / "run" / "checkpoints", step, state_of(step), keep=3)
    return tmp_path / "run" / "checkpoints"


@pytest.mark.promise
def test_the_last_k_are_kept_by_step_and_not_by_name_and_what_a_crash_left_is_removed(tmp_path):
    (tmp_path / ".step-8.partial").mkdir()
    (tmp_path / ".step-8.partial" / "state.pt").write_bytes(b"half")
    assert checkpoint.newest(tmp_path) == (None, [])
    for step in (8, 9, 10, 11):
        checkpoint.save(tmp_path, step, state_of(step), keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"step-10", "step-11"}
    assert checkpoint.newest(tmp_path)[0]["step"] == 11


def test_a_new_checkpoint_takes_the_place_of_later_ones_that_were_passed_over(folder):
    for step in (8, 10):
        (folder / f"step-{step}").mkdir()  # damaged, so that the run continued from 6
    checkpoint.save(folder, 7, state_of(7), keep=2)
    assert {path.name for path in folder.iterdir()} == {"step-6", "step-7"}


def change(name, edit):
    return lambda path: (path / name).write_bytes(edit((path / name).read_bytes()))


def with_manifest(path, content):
    """A state file of any content with a manifest that fits."""
    (path / "state.pt").write_bytes(content)
    manifest = Manifest(step=6, bytes=len(content), crc32=zlib.crc32(content))
    (path / "manifest.json").write_text(manifest.model_dump_json())


DAMAGES = {
    "cut short": (change("state.pt", lambda data: data[: len(data) // 2]), "checksum"),
    "a flipped bit": (change("state.pt", lambda data: data[:99] + bytes([data[99] ^ 1]) + data[100:]), "checksum"),
    "no state": (lambda path: (path / "state.pt").unlink(), "cannot read state.pt"),
    "no manifest": (lambda path: (path / "manifest.json").unlink(), "cannot read"),
    "an empty manifest": (change("manifest.json", lambda data: b""), "manifest.json is invalid"),
    "another file": (lambda path: with_manifest(path, b"words"), "state.pt is not a training state"),
}


@pytest.mark.promise
@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(name, folder):
    damage, part = DAMAGES[name]
    damage(folder / "step-6")
    state, (complaint,) = checkpoint.newest(folder)
    assert state["step"] == 4
    assert str(folder / "step-6") in complaint and part in complaint
    for step in (2, 4):
        damage(folder / f"step-{step}")
    with pytest.raises(UserError) as caught:
        checkpoint.newest(folder)
    assert all(str(folder / f"step-{step}") in str(caught.value) for step in (2, 4, 6))
    assert str(caught.value).endswith(f"no intact checkpoint is left in {folder}")
    assert "\n" not in str(caught.value)


@pytest.mark.promise
@pytest.mark.parametrize("moment", [(torch, "save"), (files.os, "fsync"), (checkpoint.Path, "rename")], ids=str)
def test_an_interrupted_write_leaves_what_was_there(moment, folder, monkeypatch):
    def fail(*arguments):
        if moment == (torch, "save"):
            arguments[1].write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = contents(folder)
    with monkeypatch.context() as patch:
        patch.setattr(*moment, fail)
        with pytest.raises(UserError, match=r"No space left on device\): free some space"):
            checkpoint.save(folder, 8, state_of(8), keep=1)
    assert contents(folder) == before
    assert len(list(folder.iterdir())) == 3  # nothing half-written is left


@pytest.mark.promise
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_malicious_pickle_is_not_executed(folder, tmp_path):
    """Even with a manifest that fits."""
    made = tmp_path / "made-by-the-pickle"

    class Malice:
        def __reduce__(self):
            return made.touch, ()

    torch.save({"step": 6, "task": Malice()}, tmp_path / "malice.pt")
    for content in (pickle.dumps(Malice(), protocol=2), (tmp_path / "malice.pt").read_bytes()):
        with_manifest(folder / "step-6", content)
        state, complaints = checkpoint.newest(folder)
        assert not made.exists()
        assert state["step"] == 4
        assert "state.pt is not a training state" in complaints[0]
