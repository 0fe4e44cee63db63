"""A file that is written aside: whole, or not there."""

import os

import pytest

from attnorm.data.writer import PreparedWriter
from attnorm.errors import UserError
from attnorm.files import check_output, output_file, written_aside
from attnorm.json_records import read_json
from attnorm.training.log_lines import read_lines


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_no_file_takes_the_place_of_a_pipe_or_device(tmp_path):
    pipe, link = tmp_path / "pipe.png", tmp_path / "link.png"
    os.mkfifo(pipe)
    link.symlink_to(os.devnull)
    for path in (pipe, link):
        with pytest.raises(UserError, match="it is a pipe or device, which a file would replace"):
            check_output(path, force=True)
        with pytest.raises(OSError, match="a pipe or device, not a regular file"), written_aside(path):
            pass
    assert pipe.is_fifo() and link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="a pipe or device, not a regular file"):
        read_json(pipe)
    with pytest.raises(UserError, match=r"cannot read .* \(a pipe or device, not a regular file\)"):
        read_lines(pipe)
