"""Whole runs: `attnorm train` and `attnorm resume`, interrupted in every way."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from attnorm.cli import main
from attnorm.config import derive, to_dict
from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.training import checkpoint, divergence, loop, run_folder
from attnorm.training.class_conditional import ClassConditionalTask
from attnorm.training.stopping import STOP_SIGNALS

DIGITS = ("train", "an-gan-digits", "--data", "digits", "--out")


def final_state(run):
    return checkpoint.newest(run / "checkpoints")[0]


def assert_same(first, second, where="state"):
    """Bitwise equality of nested dictionaries of tensors."""
    assert type(first) is type(second), where
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for name in first:
            assert_same(first[name], second[name], f"{where}.{name}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{where}.{index}")
    else:
        assert first == second, where


def figures(run):
    """The lines of log.jsonl without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ("time", "steps_per_second", "images_per_second")} for line in lines
    ]


def assert_same_run(first, second):
    """Same weights, averages and optimisers, same model, same last samples, same figures."""
    assert_same(final_state(first), final_state(second))
    for path in ("model/model.safetensors", "model/config.json", "samples/step-0000006.png"):
        assert (first / path).read_bytes() == (second / path).read_bytes(), path
    assert figures(first) == figures(second)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(capsys, *arguments):
    """The one line of a command that refuses."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("attnorm: error: ")
    assert err.count("\n") == 1
    return err


KILLED = """
import os, signal, sys
import torch
from attnorm.cli import main
from attnorm.training.class_conditional import ClassConditionalTask as Task

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def between_the_updates():
    update = Task._update_generator
    def patched(self, step, share):
        return die() if step == 5 else update(self, step, share)
    Task._update_generator = patched

def in_a_checkpoint():
    save = torch.save
    def patched(state, file):
        save(state, file)
        if state["step"] == 4:
            file.truncate(file.tell() // 2)
            die()
    torch.save = patched

def in_the_model():
    save, calls = Task.save_model, []
    def patched(self, folder):
        calls.append(folder)
        save(self, folder)
        if len(calls) == 2:
            (folder / "model.safetensors").write_bytes(b"half")
            die()
    Task.save_model = patched

torch.set_num_threads(1)
globals()[sys.argv[1]]()
main(sys.argv[2:])
"""


@pytest.mark.parametrize(("moment", "left"), [("between_the_updates", 4), ("in_a_checkpoint", 2), ("in_the_model", 2)])
def test_a_killed_and_resumed_run_is_bitwise_the_undisturbed_one(moment, left, finished_run, tiny_arguments, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, moment, *DIGITS, str(run), *tiny_arguments]
    killed = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert final_state(run)["step"] == left
    assert main(["resume", str(run)]) == 0
    assert_same_run(run, finished_run)


def interrupting(monkeypatch, step, *numbers):
    """Makes the run send itself signals in the middle of a step."""
    update = ClassConditionalTask._update_generator

    def patched(self, now, share):
        if now == step:
            for number in numbers:
                signal.raise_signal(number)
        return update(self, now, share)

    monkeypatch.setattr(ClassConditionalTask, "_update_generator", patched)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_stopped_run_saves_says_how_to_go_on_and_goes_on(
    number, finished_run, tiny_arguments, tmp_path, monkeypatch, capsys
):
    run, handlers = tmp_path / "run", [signal.getsignal(n) for n in STOP_SIGNALS]
    with monkeypatch.context() as patch:
        interrupting(patch, 2, number)
        assert main([*DIGITS, str(run), *tiny_arguments]) == 128 + number
    assert [signal.getsignal(n) for n in STOP_SIGNALS] == handlers
    out, err = capsys.readouterr()
    assert out.rstrip().endswith(f"stopped at step 3; go on with: attnorm resume {run}")
    assert err == ""
    assert final_state(run)["step"] == 3
    assert (run / "model" / "model.safetensors").is_file()
    assert main(["resume", str(run)]) == 0
    assert_same_run(run, finished_run)  # also the line of the log that the stop cut in two


def test_a_resume_is_exact_with_several_updates_pieces_and_flips_too(tiny_arguments, tmp_path, monkeypatch):
    more = [*tiny_arguments, "--discriminator_steps", "2", "--accumulation", "2", "--horizontal_flip", "true"]
    assert main([*DIGITS, str(tmp_path / "whole"), *more]) == 0
    with monkeypatch.context() as patch:
        interrupting(patch, 2, signal.SIGINT)
        assert main([*DIGITS, str(tmp_path / "run"), *more]) == 130
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert_same(final_state(tmp_path / "run"), final_state(tmp_path / "whole"))


def test_a_run_that_ended_before_its_first_checkpoint_starts_again(finished_run, tiny_arguments, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupting(patch, 0, signal.SIGINT, signal.SIGINT)
        assert main([*DIGITS, str(run), *tiny_arguments]) == 130
    assert not (run / "checkpoints").exists()
    assert main(["resume", str(run)]) == 0
    assert_same(final_state(run), final_state(finished_run))


def test_pictures_that_came_or_went_are_refused_at_resume(run_copy, monkeypatch, capsys):
    everything = loop.load

    def fewer(*args, **kwargs):
        dataset = everything(*args, **kwargs)
        return ImageDataset(dataset.images[:-1], dataset.labels[:-1], dataset.class_names)

    monkeypatch.setattr(loop, "load", fewer)
    message = refused(capsys, "resume", run_copy, "--steps", "9")
    assert "has 1796 pictures" in message
    assert "was trained on 1797" in message


def test_a_stop_in_the_last_step_is_a_finished_run(finished_run, tiny_arguments, tmp_path, monkeypatch, capsys):
    interrupting(monkeypatch, 5, signal.SIGINT)
    assert main([*DIGITS, str(tmp_path / "run"), *tiny_arguments]) == 0
    assert "done: 6 steps" in capsys.readouterr().out
    assert_same_run(tmp_path / "run", finished_run)


@pytest.fixture
def pythons_ctrl_c():
    """Python's own handler, which it does not begin with in a shell's background job."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("pythons_ctrl_c")
def test_a_second_ctrl_c_ends_at_once_without_a_traceback(tiny_arguments, tmp_path, monkeypatch, capsys):
    interrupting(monkeypatch, 2, signal.SIGINT, signal.SIGINT)
    assert main([*DIGITS, str(tmp_path / "run"), *tiny_arguments]) == 130
    assert capsys.readouterr().err == "attnorm: interrupted\n"
    assert final_state(tmp_path / "run")["step"] == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_more_steps_go_on_as_if_they_had_been_asked_for_at_first(run_copy, tiny_arguments, tmp_path):
    assert main(["resume", str(run_copy), "--steps", "8"]) == 0
    whole = tmp_path / "whole"
    assert main([*DIGITS, str(whole), *tiny_arguments, "--steps", "8"]) == 0
    assert_same(final_state(run_copy), final_state(whole))


def test_more_steps_hold_for_the_next_resume_too(run_copy, monkeypatch):
    with monkeypatch.context() as patch:
        interrupting(patch, 7, signal.SIGINT)
        assert main(["resume", str(run_copy), "--steps", "10"]) == 130
    assert main(["resume", str(run_copy)]) == 0
    assert final_state(run_copy)["step"] == 10
    assert loop.read_config(run_copy).steps == 10


@pytest.mark.parametrize(("steps", "part"), [("0", "--steps must be at least 1"), ("3", "is at step 6 already")])
def test_steps_that_cannot_be_are_refused(steps, part, run_copy, capsys):
    before = contents(run_copy)
    assert part in refused(capsys, "resume", run_copy, "--steps", steps)
    assert contents(run_copy) == before


def test_resuming_a_finished_run_does_nothing_and_says_so(run_copy, finished_run, capsys):
    assert main(["resume", str(run_copy)]) == 0
    assert "done: 6 steps" in capsys.readouterr().out
    assert_same_run(run_copy, finished_run)


def test_the_saved_configuration_is_complete(finished_run, tiny_config):
    resolved = derive(tiny_config, {"data": "digits"}).for_classes("0123456789")
    assert yaml.safe_load((finished_run / "config.yaml").read_text()) == to_dict(resolved)
    assert loop.read_config(finished_run) == resolved


def test_an_automatic_precision_is_saved_as_what_it_was_resolved_to(tiny_arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    run = tmp_path / "run"
    assert main([*DIGITS, str(run), *tiny_arguments, "--precision", "auto", "--steps", "1"]) == 0
    assert loop.read_config(run).precision == "bf16"


def test_everything_is_where_it_should_be(finished_run):
    files = {str(path.relative_to(finished_run)) for path in finished_run.rglob("*") if path.is_file()}
    assert files == {
        ".lock",  # of who trains there
        "config.yaml",
        "log.jsonl",
        "samples/step-0000003.png",
        "samples/step-0000006.png",
        "checkpoints/step-4/state.pt",
        "checkpoints/step-4/manifest.json",
        "checkpoints/step-6/state.pt",
        "checkpoints/step-6/manifest.json",
        "model/config.json",
        "model/model.safetensors",
        "model/README.md",
        "model/training.json",
    }


def test_the_log_has_the_figures_of_both_networks_at_every_interval(finished_run):
    lines = figures(finished_run)
    assert [line["step"] for line in lines] == [2, 4, 6]
    expected = {"loss_d", "loss_g", "orthogonal_g", "generator.blocks.2.norm2.sharpness"}
    assert all(expected <= line.keys() for line in lines)


def test_a_logged_loss_is_the_mean_since_the_last_line(finished_run, tiny_arguments, tmp_path):
    run = tmp_path / "run"
    assert main([*DIGITS, str(run), *tiny_arguments, "--steps", "2", "--log_every", "1"]) == 0
    one, two = (line["loss_d"] for line in figures(run))
    assert figures(finished_run)[0]["loss_d"] == pytest.approx((one + two) / 2, rel=1e-5)


def test_the_shares_of_all_processes_make_up_the_batch(tiny_config):

    class Fake:
        num_processes = 2

        def __init__(self, index):
            self.process_index = index

    shares = [loop._Order(tiny_config, np.arange(50), Fake(index))(7) for index in (0, 1)]
    whole = Fake(0)
    whole.num_processes = 1
    assert [len(share) for share in shares] == [2, 2]
    assert [*shares[0], *shares[1]] == [*loop._Order(tiny_config, np.arange(50), whole)(7)]


@pytest.mark.parametrize("log_every", [1, 5])  # seen in the log, or before the checkpoint that would replace a good one
def test_a_diverged_run_stops_before_it_saves_what_is_not_a_number(
    log_every, tiny_arguments, tmp_path, monkeypatch, capsys
):
    step = ClassConditionalTask.step

    def diverging(self, number, batches):
        figures = step(self, number, batches)
        return figures | {"loss_g": figures["loss_g"] * float("nan")} if number == 2 else figures

    monkeypatch.setattr(ClassConditionalTask, "step", diverging)
    run = tmp_path / "run"
    message = refused(capsys, *DIGITS, run, *tiny_arguments, "--log_every", log_every)
    assert "the training has diverged: loss_g is not finite in step 3; the last good checkpoint is" in message
    assert str(run / "checkpoints" / "step-2") in message
    assert final_state(run)["step"] == 2


def test_two_processes_take_the_steps_of_one_with_two_pieces(tiny_arguments, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "attnorm"]
    arguments = [*tiny_arguments, "--steps", "20", "--log_every", "1", "--sample_every", "20"]
    both = subprocess.run(
        [*command, *DIGITS, str(tmp_path / "two"), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert both.returncode == 0, both.stderr
    assert main([*DIGITS, str(tmp_path / "one"), *arguments, "--accumulation", "2"]) == 0
    one, two = figures(tmp_path / "one"), figures(tmp_path / "two")
    assert len(one) == len(two) == 20
    for first, second in zip(one, two, strict=True):
        for name in ("loss_d", "loss_g", "score_real", "score_fake", "orthogonal_d", "orthogonal_g"):
            assert first[name] == pytest.approx(second[name], abs=1e-5), (first["step"], name)
    one, two = (final_state(tmp_path / name)["task"]["ema"] for name in ("one", "two"))
    for name, value in one.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):  # not of what is trained
            torch.testing.assert_close(value, two[name], rtol=1e-4, atol=1e-5)


def test_a_second_run_into_the_same_folder_is_refused_and_changes_nothing(run_copy, tiny_arguments, capsys):
    before = contents(run_copy)
    message = refused(capsys, *DIGITS, run_copy, *tiny_arguments)
    assert f"go on with `attnorm resume {run_copy}`" in message
    assert contents(run_copy) == before


@pytest.mark.parametrize(
    "name", ["model/thesis.txt", "log.jsonl", ".notes.partial", "data.partial-old/a.png", "samples/step-0000002.png"]
)
def test_a_folder_with_anything_else_in_it_is_refused_and_keeps_it(name, tmp_path, tiny_arguments, capsys):
    mine = tmp_path / "project" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    message = refused(capsys, *DIGITS, tmp_path / "project", *tiny_arguments)
    assert f"{tmp_path / 'project'} is not empty ({name.split('/')[0]})" in message
    assert "choose a new or empty folder" in message
    assert [path for path in (tmp_path / "project").rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_what_a_start_that_came_to_nothing_left_does_not_stop_the_next(tmp_path):
    run_folder.check_new(tmp_path / "new")
    run_folder.check_new(tmp_path)
    (tmp_path / "prepared-data").mkdir()
    (tmp_path / "config.yaml.partial-123").write_text("half")
    run_folder.check_new(tmp_path)
    (tmp_path / "one").touch()
    (tmp_path / "two").touch()
    with pytest.raises(UserError, match=r"is not empty \(one and 1 more\)"):
        run_folder.check_new(tmp_path)


def test_checkpoints_without_their_configuration_are_not_taken_for_the_new_runs(run_copy, tiny_arguments, capsys):
    (run_copy / "config.yaml").unlink()
    before = contents(run_copy)
    assert "holds the checkpoints of a run" in refused(capsys, *DIGITS, run_copy, *tiny_arguments)
    assert contents(run_copy) == before


def test_a_layout_that_one_entity_has_taken_is_warned_of(tiny_arguments, tmp_path, monkeypatch, capsys):
    usage = ClassConditionalTask.usage
    monkeypatch.setattr(ClassConditionalTask, "usage", lambda task: dict.fromkeys(usage(task), 1.0))
    assert main([*DIGITS, str(tmp_path / "run"), *tiny_arguments, "--log_every", "1"]) == 0
    assert "one entity has taken all pixels" in capsys.readouterr().out


def test_the_line_that_ends_a_run_is_in_its_log(tiny_arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(divergence, "MOST_SKIPPED_IN_A_ROW", 4)
    step = ClassConditionalTask.step

    def skipping(self, number, batches):
        return step(self, number, batches) | {"gradient_d": torch.tensor(float("nan"))}

    monkeypatch.setattr(ClassConditionalTask, "step", skipping)
    run = tmp_path / "run"
    message = refused(capsys, *DIGITS, run, *tiny_arguments, "--log_every", "2", "--on_nonfinite", "skip")
    assert "the last 4 steps were all skipped" in message
    assert [line["skipped_steps"] for line in figures(run)] == [2, 4]


def test_a_folder_that_is_a_file_is_refused(tiny_arguments, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        assert "cannot write" in refused(capsys, *DIGITS, out, *tiny_arguments)
    assert contents(tmp_path) == {tmp_path / "file": b"mine"}


def test_a_folder_whose_name_is_no_text_is_refused(tiny_arguments, tmp_path, capsys):
    message = refused(capsys, *DIGITS, tmp_path / os.fsdecode(b"caf\xe9"), *tiny_arguments)
    assert "a name that is not UTF-8: choose another --out" in message
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_written(tiny_arguments, tmp_path, capsys):
    message = refused(capsys, *DIGITS, tmp_path / "run", *tiny_arguments, "--accumulation", "3")
    assert "choose a multiple of 3" in message
    assert list(tmp_path.iterdir()) == []


def test_another_end_is_refused_once_learning_rates_fall(tiny_arguments, tmp_path, capsys):
    run = tmp_path / "run"
    schedule = ("--lr_schedule", "linear", "--lr_hold", "0.5")
    options = (*tiny_arguments, "--checkpoint_every", "1", "--keep_checkpoints", "4", *schedule)
    assert main([*DIGITS, str(run), *options, "--steps", "4"]) == 0
    before = contents(run)
    message = refused(capsys, "resume", run, "--steps", "8")
    assert "at step 4 its learning rates already fall towards step 4" in message
    assert contents(run) == before
    for step in (3, 4):  # where they have not begun to fall, a longer run is the run that it would have been
        shutil.rmtree(run / "checkpoints" / f"step-{step}", ignore_errors=True)
    assert checkpoint.latest_step(run / "checkpoints") == 2
    assert main(["resume", str(run), "--steps", "6"]) == 0
    whole = tmp_path / "whole"
    assert main([*DIGITS, str(whole), *options, "--steps", "6"]) == 0
    assert (run / "model" / "model.safetensors").read_bytes() == (whole / "model" / "model.safetensors").read_bytes()


def test_other_pictures_of_the_same_number_and_classes_are_named_at_resume(tiny_arguments, tmp_path, capsys):
    def draw(colour: int) -> None:
        for name in ("cat/1", "cat/2", "dog/1", "dog/2"):
            path = tmp_path / "raw" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40), (colour, 9, 9)).save(path)

    draw(60)
    run = tmp_path / "runs" / "pets"
    training = ["train", "an-gan-digits", "--data", str(tmp_path / "raw"), "--out", str(run)]
    assert main([*training, *tiny_arguments, "--steps", "2"]) == 0
    capsys.readouterr()
    assert main(["resume", str(run), "--steps", "3"]) == 0
    assert "other pictures" not in capsys.readouterr().out
    draw(200)
    assert main(["resume", str(run), "--steps", "4"]) == 0
    sentence = f"{tmp_path / 'raw'} holds other pictures than those that {run} was trained on until now; going on from"
    assert f"{sentence} step 3" in capsys.readouterr().out


def test_changed_classes_are_refused_at_resume(tiny_arguments, tmp_path, capsys):
    for index, name in enumerate(("cat/1", "cat/2", "dog/1", "dog/2")):
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (60 * index, 9, 9)).save(tmp_path / "raw" / f"{name}.png")
    run = tmp_path / "runs" / "pets"
    training = ["train", "an-gan-digits", "--data", str(tmp_path / "raw"), "--out", str(run)]
    assert main([*training, *tiny_arguments, "--steps", "2"]) == 0
    assert loop.read_config(run).generator.class_names == ("cat", "dog")
    (tmp_path / "raw" / "dog").rename(tmp_path / "raw" / "wolf")
    before = contents(run)
    message = refused(capsys, "resume", run, "--steps", "4")
    assert str(tmp_path / "raw") in message
    assert "restore the data" in message
    assert contents(run) == before


def cut_short(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def test_a_damaged_checkpoint_is_passed_over_and_named(run_copy, finished_run, capsys):
    cut_short(run_copy / "checkpoints" / "step-6" / "state.pt")
    assert main(["resume", str(run_copy)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert str(run_copy / "checkpoints" / "step-6") in first
    assert first.endswith("going on from step 4")
    assert_same_run(run_copy, finished_run)


def test_without_a_whole_checkpoint_resume_is_refused_and_changes_nothing(run_copy, capsys):
    for step in (4, 6):
        cut_short(run_copy / "checkpoints" / f"step-{step}" / "state.pt")
    before = contents(run_copy)
    assert "no whole checkpoint is left" in refused(capsys, "resume", run_copy, "--steps", "8")
    assert contents(run_copy) == before


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("steps: 6", "step: 6", "unknown field 'step', did you mean 'steps'?"),
        ("steps: 6", "steps: six", "steps must be a whole number, got 'six'"),
        ("task: class-conditional", "task: [1]", "task must be one of"),
        ("latent_dim: 8", "latent_dim: 9", "the checkpoint of step 6 does not fit"),
        ("data: digits", "data: ''", "no data was named"),
        ("data: digits", "data: digitz", "did you mean 'digits'"),
        ("data: digits", "data: [", "not a readable YAML file"),
    ],
)
def test_a_spoilt_configuration_is_refused(old, new, part, run_copy, capsys):
    config = run_copy / "config.yaml"
    assert config.read_text().count(old) == 1
    config.write_text(config.read_text().replace(old, new))
    before = contents(run_copy)
    assert part in refused(capsys, "resume", run_copy)
    assert contents(run_copy) == before


def test_a_folder_that_is_no_run_cannot_be_resumed(tmp_path, capsys):
    assert "is no run" in refused(capsys, "resume", tmp_path)
    assert "is no run" in refused(capsys, "resume", tmp_path / "none")


def test_a_full_disk_at_a_checkpoint_is_one_line_and_the_run_goes_on_later(
    finished_run, tiny_arguments, tmp_path, monkeypatch, capsys
):
    save = torch.save

    def full(state, file):
        if state["step"] == 4:
            raise OSError(28, "No space left on device")
        save(state, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        assert "free some space" in refused(capsys, *DIGITS, tmp_path / "run", *tiny_arguments)
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert_same_run(tmp_path / "run", finished_run)


STATES = {
    "no best score": lambda state: state.pop("best"),
    "a best score in words": lambda state: state.update(best="good"),
    "no networks": lambda state: state.pop("task"),
    "networks that are none": lambda state: state.update(task=[1]),
    "figures that are none": lambda state: state.update(figures=5),
    "figures without names": lambda state: state.update(figures=[1]),
    "skipped steps that are none": lambda state: state.update(skipped=None),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_of_another_shape_is_refused(name, run_copy, capsys):
    state = final_state(run_copy)
    STATES[name](state)
    checkpoint.save(run_copy / "checkpoints", 6, state, keep=2)
    message = refused(capsys, "resume", run_copy, "--steps", "8")
    assert "the checkpoint of step 6 does not fit" in message and "undo its changes" in message
