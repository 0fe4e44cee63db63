"""A file that is written aside: whole, or not there."""

import os

import pytest

from attnorm.data.writer import PreparedWriter
from attnorm.errors import UserError
from attnorm.files import output_file, written_aside


def test_the_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file"
    with written_aside(path) as partial:
        partial.write_text("some")
        assert not path.exists()
    assert path.read_text() == "some"
    assert list(path.parent.iterdir()) == [path]


def test_the_cache_is_made_for_its_owner_alone_and_other_folders_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNORM_CACHE", str(tmp_path / "home" / "cache"))
    old = os.umask(0o022)
    try:
        for folder in ("home/cache/reference", "elsewhere"):
            with written_aside(tmp_path / folder / "file") as partial:
                partial.write_text("some")
        with PreparedWriter(tmp_path / "home" / "cache" / "prepared-data" / "set", 8, ("one",)):
            pass
    finally:
        os.umask(old)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("home", "home/cache", "elsewhere")}
    assert modes == {"home": 0o755, "home/cache": 0o700, "elsewhere": 0o755}


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), written_aside(path) as partial:
        partial.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_none_is_an_os_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="exists"), written_aside(tmp_path / "file" / "inside"):
        pass


def test_a_file_that_the_user_named_is_refused_in_a_sentence(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UserError, match=r"cannot write .*inside \(File exists\)"), output_file(path / "inside"):
        pass
    with pytest.raises(UserError, match=r"cannot write .*file \(full\): make room"), output_file(path) as partial:
        partial.write_text("half")
        raise OSError("full")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file", "old")]
