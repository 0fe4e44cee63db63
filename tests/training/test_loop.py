"""Whole runs: `attnorm train` and `attnorm resume`, interrupted in every way."""

import errno
import gc
import os
import signal

import pytest
import torch
import yaml
from PIL import Image

from attnorm.config import derive
from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.models.class_conditional import Generator
from attnorm.training import logger, loop
from attnorm.training.class_conditional import ClassConditionalTask
from attnorm.training.running_metrics import RunningMetrics
from attnorm.training.runtime import STOP_SIGNALS
from attnorm.training.trained import find_trained
from tests.runs import (
    ALONE,
    DIGITS,
    assert_same_run,
    batch_of,
    contents,
    differences,
    final_state,
    interrupt,
    log_of,
    main,
    moved,
    refused,
    run_killed,
    run_two,
)


@pytest.mark.promise
@pytest.mark.parametrize(("moment", "left"), [(5, 4), ("checkpoint", 2), ("model", 2)])
def test_a_killed_and_resumed_run_is_bitwise_the_undisturbed_one(moment, left, finished_run, tiny_arguments, tmp_path):
    run = tmp_path / "run"
    run_killed(ClassConditionalTask, moment, *DIGITS, str(run), *tiny_arguments)
    assert final_state(run)["step"] == left
    assert main(["resume", str(run)]) == 0
    assert_same_run(run, finished_run)
    assert contents(run).keys() == {run / path.relative_to(finished_run) for path in contents(finished_run)}


@pytest.mark.promise
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_can_be_continued_as_it_says(number, finished_run, tiny_arguments, tmp_path, monkeypatch, capsys):
    run, handlers = tmp_path / "run", [signal.getsignal(n) for n in STOP_SIGNALS]
    with monkeypatch.context() as patch:
        interrupt(patch, ClassConditionalTask, 2, number)
        assert main([*DIGITS, str(run), *tiny_arguments]) == 128 + number
    assert [signal.getsignal(n) for n in STOP_SIGNALS] == handlers
    out, err = capsys.readouterr()
    assert out.rstrip().endswith(f"stopped at step 3; continue with: attnorm resume {run}")
    assert err == ""
    assert final_state(run)["step"] == 3
    assert (run / "model" / "model.safetensors").is_file()
    assert main(["resume", str(run)]) == 0
    assert_same_run(run, finished_run)  # also the line of the log that the stop cut in two


@pytest.mark.promise
def test_a_resume_is_exact_with_several_updates_pieces_and_flips_too(tiny_arguments, tmp_path, monkeypatch):
    more = [*tiny_arguments, "--discriminator_steps", "2", "--accumulation", "2", "--horizontal_flip", "true"]
    assert main([*DIGITS, str(tmp_path / "whole"), *more]) == 0
    with monkeypatch.context() as patch:
        interrupt(patch, ClassConditionalTask, 2)
        assert main([*DIGITS, str(tmp_path / "run"), *more]) == 130
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_second_ctrl_c_ends_at_once_and_a_run_without_a_checkpoint_starts_again(
    finished_run, tiny_arguments, tmp_path, monkeypatch, capsys
):
    run, before = tmp_path / "run", signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            interrupt(patch, ClassConditionalTask, 0, signal.SIGINT, signal.SIGINT)
            assert main([*DIGITS, str(run), *tiny_arguments]) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "attnorm: interrupted\n"
    assert not (run / "checkpoints").exists()
    assert main(["resume", str(run)]) == 0
    assert_same_run(run, finished_run)


@pytest.mark.promise
def test_more_steps_are_those_of_a_longer_run_and_are_saved(run_copy, tiny_arguments, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, ClassConditionalTask, 7)
        assert main(["resume", str(run_copy), "--steps", "10"]) == 130
    assert loop.read_config(run_copy).steps == 10
    assert main(["resume", str(run_copy)]) == 0
    assert main([*DIGITS, str(tmp_path / "whole"), *tiny_arguments, "--steps", "10"]) == 0
    assert differences(final_state(run_copy), final_state(tmp_path / "whole")) == []


def test_the_saved_configuration_is_complete_with_its_precision_resolved(
    finished_run, tiny_config, tiny_arguments, tmp_path, monkeypatch
):
    resolved = derive(tiny_config, {"data": "digits"}).for_classes("0123456789")
    assert yaml.safe_load((finished_run / "config.yaml").read_text()) == resolved.model_dump(mode="json")
    assert loop.read_config(finished_run) == resolved
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    run = tmp_path / "run"
    assert main([*DIGITS, str(run), *tiny_arguments, "--precision", "auto", "--steps", "1"]) == 0
    assert loop.read_config(run).precision == "bf16"


@pytest.mark.promise
def test_two_processes_take_the_steps_of_one_with_two_pieces_and_stop_together(tiny_arguments, tmp_path):
    arguments = [*tiny_arguments, "--steps", "20", "--log_every", "1", "--sample_every", "20"]
    stopped = run_two(ClassConditionalTask, [*DIGITS, str(tmp_path / "two"), *arguments], stopped_in=8)
    assert stopped == [128 + signal.SIGTERM] * 2
    assert final_state(tmp_path / "two")["step"] == 9
    assert main([*DIGITS, str(tmp_path / "one"), *arguments, "--accumulation", "2", "--steps", "9"]) == 0
    one, two = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    assert len(one) == len(two) == 9
    for first, second in zip(one, two, strict=True):
        for name in ("loss_d", "loss_g", "score_real", "score_fake", "orthogonal_d", "orthogonal_g"):
            assert first[name] == pytest.approx(second[name], abs=1e-5), (first["step"], name)
    one, two = (final_state(tmp_path / name)["task"]["ema"] for name in ("one", "two"))
    for name, value in one.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):  # of each process's own batches
            torch.testing.assert_close(value, two[name], rtol=1e-4, atol=1e-5)


@pytest.mark.promise
def test_memory_does_not_grow_with_the_steps(tiny_config):
    task, running = ClassConditionalTask(tiny_config, ALONE), RunningMetrics(ALONE)

    def tensors_after(steps):
        for step in steps:
            running.add(step, task.step(step, [batch_of(step)]))
        task.usage()
        gc.collect()
        return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())

    tensors_after(range(1))  # also frees what earlier tests have left
    before = tensors_after(range(1, 3))
    assert tensors_after(range(3, 10)) == before


@pytest.mark.promise
def test_data_may_move_and_other_data_is_refused_at_resume(tiny_arguments, tmp_path, monkeypatch, capsys):
    raw, run = tmp_path / "raw", tmp_path / "runs" / "pets"
    for index, name in enumerate(("cat/1", "cat/2", "dog/1", "dog/2")):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (60 * index, 200, 99)).save(raw / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    command = ["train", "an-gan-digits", "--data", "raw", "--out", str(run), *tiny_arguments]
    assert main([*command, "--steps", "1"]) == 0
    monkeypatch.chdir(tmp_path / "runs")
    assert main(["resume", "pets", "--steps", "2"]) == 0
    raw, old = raw.rename(tmp_path / "moved"), raw
    message = refused(capsys, "resume", run, "--steps", "3")
    assert f"{old} no longer exists: give its new place with --data" in message
    assert main(["resume", "pets", "--steps", "3", "--data", "../moved"]) == 0
    assert loop.read_config(run).data == str(raw)
    before = contents(run)
    for change in (
        lambda: Image.new("RGB", (40, 40), (9, 200, 9)).save(raw / "dog" / "2.png"),
        lambda: (raw / "dog" / "2.png").unlink(),
        lambda: (raw / "dog").rename(raw / "wolf"),
    ):
        change()
        message = refused(capsys, "resume", run, "--steps", "4")
        assert str(raw) in message and "restore the" in message
        assert contents(run) == before


@pytest.mark.promise
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(run_copy, finished_run, capsys):
    """Where none is left, see test_checkpoint.py."""
    path = run_copy / "checkpoints" / "step-6" / "state.pt"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"step-6 is damaged"):  # not older weights in their place
        find_trained(run_copy, "raw").pipeline()
    assert main(["resume", str(run_copy)]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if str(path.parent) in line]
    assert line.endswith("continuing from step 4")
    assert_same_run(run_copy, finished_run)


NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half_a_model(task, folder):
    (folder / "model.safetensors").write_bytes(b"half")


def half_an_image(image, path, **options):
    path.write_bytes(b"half")


@pytest.mark.promise
@pytest.mark.parametrize(
    ("target", "name", "at", "half", "said"),
    [
        (logger, "sync_file", 2, lambda *args: None, "cannot write the log in"),
        (ClassConditionalTask, "save_model", 2, half_a_model, "cannot write the model to"),
        (Image.Image, "save", 2, half_an_image, "cannot write"),
        (torch, "save", 2, lambda *args: None, "cannot write the checkpoint"),
        (ImageDataset, "batch", 6, lambda *args: None, "batch 4 could not be read"),
    ],
)
def test_a_broken_disk_is_one_sentence_and_the_run_continues_later(
    target, name, at, half, said, finished_run, tiny_arguments, tmp_path, monkeypatch, capsys
):
    original, calls, run = getattr(target, name), [], tmp_path / "run"

    def full(*args, **kwargs):
        calls.append(None)
        if len(calls) == at:
            half(*args)
            raise NO_ROOM
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(target, name, full)
        message = refused(capsys, *DIGITS, run, *tiny_arguments)
    assert message.startswith(f"attnorm: error: {said}") and NO_ROOM.strerror in message
    assert not [path for path in run.rglob("*") if "partial" in path.name]
    assert main(["resume", str(run)]) == 0
    assert_same_run(run, finished_run)


def test_raw_weights_are_the_checkpoints_and_without_averaging_the_saved_ones(finished_run, tiny_arguments, tmp_path):
    run, plain = tmp_path / "run", [*tiny_arguments, "--ema_half_life", "0", "--steps", "2"]
    assert main([*DIGITS, str(run), *plain]) == 0
    raw = find_trained(run / "checkpoints" / "step-2").pipeline().generator
    saved = Generator.from_pretrained(run / "model")
    torch.testing.assert_close(dict(raw.state_dict()), dict(saved.state_dict()))  # standing statistics too
    raw = find_trained(finished_run, "raw").pipeline().generator
    state = final_state(finished_run)["task"]
    assert moved(state["generator"], raw) == set()
    assert moved(state["ema"], raw)
