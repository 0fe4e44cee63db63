"""A run's folder: who may write there, and what a killed process leaves in it."""

import pytest

from attnorm.training.run_folder import check_new, run_lock
from tests.runs import DIGITS, FORKS, contents, hold, main, refused


@pytest.mark.promise
@pytest.mark.parametrize("name", ["model/thesis.txt", "log.jsonl", ".notes.partial", "data.partial-old/a.png"])
def test_a_folder_with_anything_else_in_it_is_refused_and_kept(name, tmp_path, tiny_arguments, capsys):
    mine = tmp_path / "project" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    message = refused(capsys, *DIGITS, tmp_path / "project", *tiny_arguments)
    assert f"{tmp_path / 'project'} is not empty (it has {name.split('/')[0]}): choose a new or empty folder" in message
    assert contents(tmp_path) == {mine: b"mine"}


def test_a_start_that_was_killed_does_not_stop_the_next(tmp_path):
    check_new(tmp_path / "new")
    with run_lock(tmp_path):
        pass
    (tmp_path / "prepared-data").mkdir()
    (tmp_path / "config.yaml.partial-123").write_text("half")
    check_new(tmp_path)


@pytest.mark.promise
def test_a_run_that_is_being_trained_is_refused_and_a_killed_training_blocks_nobody(run_copy, capsys):
    mine, other = FORKS.Pipe()
    process = FORKS.Process(target=hold, args=(run_copy, other))
    process.start()
    try:
        assert mine.recv() == "held"
        before = contents(run_copy)
        said = refused(capsys, "resume", run_copy, "--steps", "8")
        assert f"{run_copy} is being trained by another process: wait until it ends" in said
        assert contents(run_copy) == before
    finally:
        process.kill()
        process.join()
    assert main(["resume", str(run_copy)]) == 0
