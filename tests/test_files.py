"""A file that is written aside: whole, or not there."""

import os
from pathlib import Path

import pytest

from attnorm.errors import UserError
from attnorm.files import folder_aside, output_file, written_aside


@pytest.mark.promise
def test_the_file_appears_when_it_is_whole_and_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "new" / "file"
    with written_aside(path) as partial:
        partial.write_text("some")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), written_aside(path) as partial:
        partial.write_text("oth")
        raise KeyboardInterrupt
    assert path.read_text() == "some"
    assert list(path.parent.iterdir()) == [path]


def test_the_cache_is_made_for_its_owner_alone_and_other_folders_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNORM_CACHE", str(tmp_path / "home" / "cache"))
    old = os.umask(0o022)
    try:
        for folder in ("home/cache/reference", "elsewhere"):
            with written_aside(tmp_path / folder / "file") as partial:
                partial.write_text("some")
    finally:
        os.umask(old)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("home", "home/cache", "elsewhere")}
    assert modes == {"home": 0o755, "home/cache": 0o700, "elsewhere": 0o755}


def test_a_file_that_the_user_named_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UserError, match=r"cannot write .*inside \(File exists\)"), output_file(path / "inside"):
        pass
    with pytest.raises(UserError, match=r"cannot write .*file \(full\): make room"), output_file(path) as partial:
        partial.write_text("half")
        raise OSError("full")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]


@pytest.mark.promise
def test_a_folder_is_swapped_in_whole_or_not_at_all(tmp_path, monkeypatch):
    folder, rename, calls = tmp_path / "model", Path.rename, []

    def write(text):
        with folder_aside(folder) as aside:
            (aside / "weights").write_text(text)

    def failing(self, target):
        calls.append(self)
        if len(calls) == 2:
            raise OSError("read-only")
        return rename(self, target)

    write("old")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="read-only"):
        patch.setattr(Path, "rename", failing)
        write("new")
    assert (folder / "weights").read_text() == "old"
    write("new")
    assert (folder / "weights").read_text() == "new"
    assert list(tmp_path.iterdir()) == [folder]
