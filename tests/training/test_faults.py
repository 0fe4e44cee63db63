"""What goes wrong around a run, with room, permissions, data, threads, other processes: one line for each, and the run
goes on to the undisturbed end afterwards.
"""

import errno
import os
import signal
import threading

import pytest
import torch
from attnorm.training.journal import Journal
from PIL import Image
from torch import distributed

from attnorm.cli import main
from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.models.pretrained import step_of
from attnorm.training import loop, stopping, together
from attnorm.training.class_conditional import ClassConditionalTask
from attnorm.training.stopping import stop_signals
from tests.two_processes import run_two

DIGITS = ("train", "an-gan-digits", "--data", "digits", "--out")
NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
READ_ONLY = OSError(errno.EROFS, os.strerror(errno.EROFS))
LAUNCHED = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
UNREADABLE = OSError(errno.EIO, "Input/output error")


def same_files(run, reference):
    """What a run leaves, but for the log, which has times in it, and the checkpoints, which are archives."""
    for path in ("model/model.safetensors", "samples/step-0000003.png", "samples/step-0000006.png", "config.yaml"):
        assert (run / path).read_bytes() == (reference / path).read_bytes(), path
    names = {str(path.relative_to(run)) for path in run.rglob("*")}
    assert names == {str(path.relative_to(reference)) for path in reference.rglob("*")}
    counts = [len((each / "log.jsonl").read_text().splitlines()) for each in (run, reference)]
    assert counts[0] == counts[1]


def failing(monkeypatch, target, name, error, *, at, half=None):
    """Makes the call number `at` of a method fail, after what `half` leaves undone."""
    original, calls = getattr(target, name), []

    def patched(*args, **kwargs):
        calls.append(None)
        if len(calls) == at:
            if half is not None:
                half(*args)
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(target, name, patched)


def half_a_line(journal, file, step, figures):
    file.write('{"step": 4, "lo')
    file.flush()


def half_a_model(task, folder):
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"half")


def half_a_picture(picture, path, **options):
    path.write_bytes(b"half")


@pytest.mark.parametrize("error", [NO_ROOM, READ_ONLY])
@pytest.mark.parametrize(
    ("target", "name", "at", "half", "said"),
    [
        (Journal, "_write", 2, half_a_line, "cannot write the log in"),
        (ClassConditionalTask, "save_model", 2, half_a_model, "cannot write the model to"),
        (Image.Image, "save", 2, half_a_picture, "cannot write"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_line_and_the_run_goes_on_later(
    error, target, name, at, half, said, finished_run, tiny_arguments, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        failing(patch, target, name, error, at=at, half=half)
        assert main([*DIGITS, str(run), *tiny_arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"attnorm: error: {said}")
    assert error.strerror in err
    assert err.count("\n") == 1
    assert not [path for path in run.rglob("*") if "partial" in path.name]
    assert main(["resume", str(run)]) == 0
    same_files(run, finished_run)


def test_a_folder_that_cannot_be_made_is_one_line(tiny_arguments, tmp_path, monkeypatch, capsys):
    failing(monkeypatch, loop.Path, "mkdir", READ_ONLY, at=1)
    assert main([*DIGITS, str(tmp_path / "run"), *tiny_arguments]) == 2
    err = capsys.readouterr().err
    assert "Read-only file system" in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_data_that_is_lost_is_one_line_and_the_run_goes_on_later(
    finished_run, tiny_arguments, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        failing(patch, ImageDataset, "batch", UNREADABLE, at=6)  # the first reads what tells the set from others
        assert main([*DIGITS, str(run), *tiny_arguments]) == 2
    err = capsys.readouterr().err
    assert "reading the batch of step 4 failed" in err
    assert "Input/output error" in err
    assert f"then go on with: attnorm resume {run}" in err
    assert err.count("\n") == 1
    assert main(["resume", str(run)]) == 0
    same_files(run, finished_run)


def test_data_that_is_lost_before_the_first_step_is_one_line(tiny_arguments, tmp_path, monkeypatch, capsys):
    failing(monkeypatch, ImageDataset, "batch", UNREADABLE, at=1)
    assert main([*DIGITS, str(tmp_path / "run"), *tiny_arguments]) == 2
    assert capsys.readouterr().err == "attnorm: error: cannot read digits (Input/output error): see to the data\n"
    assert not (tmp_path / "run").exists()


def test_what_a_killed_process_was_writing_is_cleared_away(run_copy, finished_run):
    for name in (".model.partial/model.safetensors", "checkpoints/.step-5.partial/state.pt", ".config.yaml.partial"):
        (run_copy / name).parent.mkdir(exist_ok=True)
        (run_copy / name).write_bytes(b"half")
    (run_copy / "samples" / "step-0000005.png.partial-123").write_bytes(b"half")
    assert main(["resume", str(run_copy)]) == 0
    same_files(run_copy, finished_run)


class Several:
    num_processes, process_index = 2, 1


class One:
    num_processes, process_index = 1, 0


def test_a_model_that_was_moved_away_for_a_new_one_is_put_back(run_copy, finished_run):
    (run_copy / "model").rename(run_copy / ".model.old.partial")
    (run_copy / ".model.partial").mkdir()
    assert main(["resume", str(run_copy)]) == 0
    same_files(run_copy, finished_run)


@pytest.mark.parametrize("moved_away", [False, True])
def test_parts_of_a_run_may_be_links_to_elsewhere(moved_away, run_copy, finished_run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("model", "checkpoints", "samples"):
        (run_copy / name).rename(elsewhere / name)
        (run_copy / name).symlink_to(elsewhere / name)
    if moved_away:  # a kill between the two renames of a swap
        (elsewhere / "model").rename(elsewhere / ".model.old.partial")
    (run_copy / ".old.partial").symlink_to(elsewhere / "samples")  # only the link is cleared away
    assert main(["resume", str(run_copy)]) == 0
    weights = "model/model.safetensors"
    assert (run_copy / weights).read_bytes() == (finished_run / weights).read_bytes()
    assert main(["resume", str(run_copy), "--steps", "8"]) == 0
    assert (run_copy / "model").is_symlink()
    assert step_of(run_copy / "model") == 8
    assert {path.name for path in elsewhere.iterdir()} == {"model", "checkpoints", "samples"}


def test_a_new_model_that_cannot_take_its_place_leaves_the_old_one(run_copy, monkeypatch):
    class Task:
        def save_model(self, folder):
            folder.mkdir()
            (folder / "model.safetensors").write_bytes(b"new")

    before = (run_copy / "model" / "model.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        failing(patch, loop.Path, "rename", READ_ONLY, at=2)
        with pytest.raises(UserError, match="cannot write the model"):
            loop._save_model(Task(), run_copy / "model", 6)
    assert (run_copy / "model" / "model.safetensors").read_bytes() == before
    assert not list(run_copy.glob(".*.partial"))
    loop._save_model(Task(), run_copy / "model", 6)
    assert {path.name for path in (run_copy / "model").iterdir()} == {"model.safetensors", "training.json"}
    assert (run_copy / "model" / "model.safetensors").read_bytes() == b"new"
    assert not list(run_copy.glob(".*.partial"))


def test_leftovers_that_cannot_be_removed_are_one_line(run_copy, monkeypatch, capsys):
    (run_copy / ".config.yaml.partial").write_bytes(b"half")
    failing(monkeypatch, loop.Path, "unlink", READ_ONLY, at=1)
    assert main(["resume", str(run_copy)]) == 2
    err = capsys.readouterr().err
    assert "cannot clear away what a killed process has left" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("processes", "meetings"), [("1", 0), ("2", 1)])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["resume", "nothing"], "is no run"), ([*DIGITS, "run", "--nonsense", "1"], "unknown field 'nonsense'")],
)
def test_a_process_that_cannot_begin_does_not_keep_the_others_waiting(
    arguments, said, processes, meetings, tmp_path, monkeypatch, capsys
):
    met = []
    monkeypatch.chdir(tmp_path)
    for name, value in {"WORLD_SIZE": processes, **LAUNCHED}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(together, "Accelerator", lambda **options: met.append(options))
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
    assert len(met) == meetings


def test_processes_that_would_take_other_steps_are_refused(tiny_arguments, tmp_path):
    """With another seed each would have begun with weights of its own, and nothing would have shown it."""
    out = str(tmp_path / "run")
    ended = run_two(lambda rank: ["-m", "attnorm", *DIGITS, out, *tiny_arguments, "--seed", rank])
    sentence = "the processes differ: seed is 0 in process 0 and 1 in process 1: give all processes the same"
    assert [process.stderr for process in ended] == [f"attnorm: error: {sentence} arguments\n"] * 2
    assert [process.returncode for process in ended] == [2, 2]
    assert not (tmp_path / "run").exists()


def test_processes_that_see_different_checkpoints_are_refused(tmp_path):
    class Apart(Several):
        device = torch.device("cpu")

        def gather(self, mine):
            return torch.cat([mine, torch.tensor([4])])

    together.check_agreed(4, tmp_path, Apart())
    with pytest.raises(UserError, match=r"different newest checkpoints .* \(of steps 4, 6\)"):
        together.check_agreed(6, tmp_path, Apart())


LOST = [
    RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:1"),
    distributed.DistBackendError("NCCL communicator was aborted on rank 1."),
]


@pytest.mark.parametrize("error", LOST)
@pytest.mark.parametrize(("started", "remedy"), [(True, "go on with: attnorm resume"), (False, "start again")])
def test_a_process_that_lost_another_says_so(error, started, remedy, tmp_path):
    if started:
        (tmp_path / "config.yaml").touch()
    with (
        pytest.raises(UserError, match=f"process 1 has lost another process of the run, .* {remedy}"),
        together.together(Several, tmp_path),
    ):
        raise error


@pytest.mark.parametrize(("accelerator", "error"), [(Several, RuntimeError("shapes differ")), (One, LOST[0])])
def test_other_errors_stay_what_they_are(accelerator, error, tmp_path):
    with pytest.raises(RuntimeError) as caught, together.together(accelerator, tmp_path):
        raise error
    assert caught.value is error


def test_signals_are_left_alone_outside_the_main_thread():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with stop_signals(1) as stop:
            seen.append((signal.getsignal(signal.SIGTERM), stop.asked()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]


def test_a_stop_that_another_process_was_sent_leaves_the_first_ctrl_c_here_a_first(monkeypatch):
    class Answer:
        def wait(self):
            pass

    def all_reduce(number, *rest, **options):
        number.fill_(max(int(number), signal.SIGINT))  # as the other process was sent
        return Answer()

    monkeypatch.setattr(stopping.distributed, "new_group", lambda **options: None)
    monkeypatch.setattr(stopping.distributed, "all_reduce", all_reduce)
    with stop_signals(2) as stop:
        assert [stop.asked(), stop.asked()] == [False, True]
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stop.number == signal.SIGINT


def test_the_last_answer_is_waited_for_in_every_thread(monkeypatch):
    waited = []

    class Answer:
        def wait(self):
            waited.append(True)

    monkeypatch.setattr(stopping.distributed, "new_group", lambda **options: None)
    monkeypatch.setattr(stopping.distributed, "all_reduce", lambda *arguments, **options: Answer())

    def work():
        with stop_signals(2) as stop:
            stop.asked()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert waited == [True]
