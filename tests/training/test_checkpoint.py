"""Checkpoints survive crashes, damage is noticed, and nothing in them is executed."""

import errno
import io
import json
import os
import pickle
import zlib

import pytest
import torch

from attnorm import files
from attnorm.errors import UserError
from attnorm.training import checkpoint

CPU = torch.device("cpu")


def state_of(step):
    return {"step": step, "task": {"weights": torch.full((50,), float(step)), "nested": {"numbers": [1, 2.5, "x"]}}}


@pytest.fixture
def folder(tmp_path):
    """The checkpoints of steps 2, 4 and 6."""
    for step in (2, 4, 6):
        checkpoint.save(tmp_path / "run" / "checkpoints", step, state_of(step), keep=3)
    return tmp_path / "run" / "checkpoints"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_was_saved_comes_back(folder):
    state, complaints = checkpoint.newest(folder)
    assert complaints == []
    assert torch.equal(state["task"].pop("weights"), torch.full((50,), 6.0))
    assert state == {"step": 6, "task": {"nested": {"numbers": [1, 2.5, "x"]}}}


def test_the_cpu_of_one_of_several_processes_is_the_cpu(folder):
    """torch.load knows no place called cpu:1, which Accelerate's processes have."""
    state, complaints = checkpoint.newest(folder, torch.device("cpu:1"))
    assert (state["step"], complaints) == (6, [])


def test_the_last_k_are_kept_by_step_and_not_by_name(tmp_path):
    for step in (8, 9, 10, 11):
        checkpoint.save(tmp_path, step, state_of(step), keep=2)
    assert names(tmp_path) == ["step-10", "step-11"]
    assert checkpoint.newest(tmp_path)[0]["step"] == 11


def test_a_new_checkpoint_takes_the_place_of_later_ones_that_were_passed_over(folder):
    for step in (8, 10):
        (folder / f"step-{step}").mkdir()  # damaged, so that the run went on from 6
    checkpoint.save(folder, 7, state_of(7), keep=2)
    assert names(folder) == ["step-6", "step-7"]
    assert checkpoint.newest(folder)[0]["step"] == 7


def test_saving_a_step_again_replaces_it(folder):
    checkpoint.save(folder, 6, state_of(6) | {"again": True}, keep=3)
    assert checkpoint.newest(folder)[0]["again"]
    assert names(folder) == ["step-2", "step-4", "step-6"]


def cut_short(path):
    with (path / "state.pt").open("r+b") as file:
        file.truncate((path / "state.pt").stat().st_size // 2)


def flip_a_byte(path):
    data = bytearray((path / "state.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "state.pt").write_bytes(data)


def remove_the_manifest(path):
    (path / "manifest.json").unlink()


def remove_the_state(path):
    (path / "state.pt").unlink()


def empty_the_manifest(path):
    (path / "manifest.json").write_text("")


def nonsense_manifest(path):
    (path / "manifest.json").write_text("[1, 2]")


def deep_manifest(path):
    (path / "manifest.json").write_text("[" * 100_000)


def manifest_beyond_measure(path):
    (path / "manifest.json").write_text('{"bytes": 1' + "0" * 400 + "}")


def a_folder_for_a_manifest(path):
    remove_the_manifest(path)
    (path / "manifest.json").mkdir()


def a_pipe_for_a_manifest(path):
    remove_the_manifest(path)
    os.mkfifo(path / "manifest.json")


def other_state(path, state):
    """A whole file, with a manifest that fits, of something else."""
    torch.save(state, path / "state.pt")
    content = (path / "state.pt").read_bytes()
    manifest = {"step": 6, "bytes": len(content), "crc32": zlib.crc32(content)}
    (path / "manifest.json").write_text(json.dumps(manifest))


DAMAGES = [
    (cut_short, "bytes"),
    (flip_a_byte, "checksum"),
    (remove_the_manifest, "manifest.json is missing"),
    (remove_the_state, "state.pt is missing"),
    (empty_the_manifest, "manifest.json does not say what state.pt should be"),
    (nonsense_manifest, "manifest.json does not say what state.pt should be"),
    (deep_manifest, "manifest.json does not say what state.pt should be"),
    (manifest_beyond_measure, "manifest.json does not say what state.pt should be"),
    (a_folder_for_a_manifest, "manifest.json cannot be read: Is a directory"),
    (a_pipe_for_a_manifest, "manifest.json cannot be read: a pipe or device, not a regular file"),
    (lambda path: other_state(path, [1]), "state.pt holds no training state of this step"),
    (lambda path: other_state(path, {}), "state.pt holds no training state of this step"),
    (lambda path: other_state(path, state_of(5)), "state.pt holds no training state of this step"),
    (lambda path: other_state(path, state_of("6")), "state.pt holds no training state of this step"),
    (lambda path: other_state(path, state_of(float(path.name[5:]))), "state.pt holds no training state of this step"),
]


@pytest.mark.parametrize(("damage", "word"), DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(damage, word, folder):
    damage(folder / "step-6")
    state, complaints = checkpoint.newest(folder)
    assert state["step"] == 4
    assert len(complaints) == 1
    assert str(folder / "step-6") in complaints[0]
    assert word in complaints[0]


@pytest.mark.parametrize(("damage", "word"), DAMAGES)
def test_nothing_whole_left_is_an_error_that_names_all(damage, word, folder):
    for step in (2, 4, 6):
        damage(folder / f"step-{step}")
    with pytest.raises(UserError) as caught:
        checkpoint.newest(folder)
    assert all(str(folder / f"step-{step}") in str(caught.value) for step in (2, 4, 6))
    assert "no whole checkpoint is left" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_before_the_first_checkpoint_there_is_none(tmp_path):
    assert checkpoint.newest(tmp_path / "none") == (None, [])


def test_other_folders_are_no_checkpoints(folder):
    for name in ("step-x", "step-", "step-²", ".step-8.partial", "notes"):
        (folder / name).mkdir()
    assert checkpoint.newest(folder)[0]["step"] == 6
    checkpoint.save(folder, 8, state_of(8), keep=1)
    assert names(folder) == ["notes", "step-", "step-8", "step-x", "step-²"]


@pytest.mark.parametrize("moment", ["writing", "syncing", "renaming"])
def test_an_interrupted_write_leaves_what_was_there(moment, folder, monkeypatch):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    class FullDisk(io.BytesIO):
        def write(self, data):
            if self.tell() + len(data) > 600:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target, does = {
        "writing": ((checkpoint.Path, "open"), lambda *arguments: FullDisk()),
        "syncing": ((files.os, "fsync"), fail),
        "renaming": ((checkpoint.Path, "rename"), fail),
    }[moment]
    monkeypatch.setattr(*target, does)
    with pytest.raises(UserError, match=r"No space left on device; free some space") as raised:
        checkpoint.save(folder, 8, state_of(8), keep=1)
    assert "inline_container" not in str(raised.value)  # torch's own words about its file format
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert names(folder) == ["step-2", "step-4", "step-6"]  # nothing half-written lies about


def test_a_crash_while_writing_is_invisible_and_the_next_save_cleans_up(folder):
    (folder / ".step-8.partial").mkdir()
    (folder / ".step-8.partial" / "state.pt").write_bytes(b"half")
    assert checkpoint.newest(folder)[0]["step"] == 6
    checkpoint.save(folder, 8, state_of(8), keep=4)
    assert names(folder) == ["step-2", "step-4", "step-6", "step-8"]
    assert checkpoint.newest(folder)[0]["step"] == 8


def test_a_malicious_pickle_is_not_executed(folder, tmp_path):
    """Even with a manifest that fits."""
    made = tmp_path / "made-by-the-pickle"

    class Malice:
        def __reduce__(self):
            return made.touch, ()

    for content in (pickle.dumps(Malice(), protocol=2), _as_torch_file(Malice(), tmp_path)):
        (folder / "step-6" / "state.pt").write_bytes(content)
        manifest = {"step": 6, "bytes": len(content), "crc32": zlib.crc32(content)}
        (folder / "step-6" / "manifest.json").write_text(json.dumps(manifest))
        state, complaints = checkpoint.newest(folder)
        assert not made.exists()
        assert state["step"] == 4
        assert "state.pt holds no training state" in complaints[0]


def _as_torch_file(thing, tmp_path):
    torch.save({"step": 6, "task": thing}, tmp_path / "malice.pt")
    return (tmp_path / "malice.pt").read_bytes()


def test_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(tmp_path):
    (tmp_path / "file").write_text("in the way")  # also for root, who may write anywhere else
    with pytest.raises(UserError, match="make the folder writable"):
        checkpoint.save(tmp_path / "file" / "checkpoints", 1, state_of(1), keep=1)
    assert (tmp_path / "file").read_text() == "in the way"
