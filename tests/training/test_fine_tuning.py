"""What a training starts from: weights of a run or model, rows by the names of their classes, and its exact resume."""

import copy
import shutil

import pytest
import torch

from attnorm.errors import UserError
from attnorm.models.class_conditional import Generator
from attnorm.training import checkpoint, loop
from attnorm.training.class_conditional import ClassConditionalTask
from attnorm.training.fine_tuning import start_from
from attnorm.training.inpainting import InpaintingTask
from tests.runs import ALONE, DIGITS, INPAINT, assert_same_run, differences, final_state, interrupt, main, moved


@pytest.fixture
def task(tiny_config):
    """A new task for two digits and a class that is no digit."""
    return ClassConditionalTask(tiny_config.for_classes(("7", "wolf", "3")), ALONE)


def start(task, source):
    (said,) = start_from(str(source), task.config.task, task.networks, task.ema)
    return said


def test_weights_are_taken_and_rows_go_to_the_class_of_the_same_name(task, finished_run):
    fresh = {name: copy.deepcopy(network.state_dict()) for name, network in task.networks.items()}
    said = start(task, finished_run)
    assert said == (
        f"starts with the generator and discriminator of step 6 of {finished_run}; new: 1 of 3 classes (wolf)"
    )
    source, by_class = final_state(finished_run)["task"], []
    for name, network in task.networks.items():
        for key, value in network.state_dict().items():
            given = source[name][key]
            if value.shape == given.shape and "embedding" not in key:
                assert torch.equal(value, given), key
            elif not key.endswith((".u", ".v")):
                by_class.append(key)
                assert torch.equal(value[[0, 2]], given[[7, 3]])
                assert torch.equal(value[1], fresh[name][key][1])
    assert by_class[-1] == "embedding.parametrizations.weight.original"
    assert len(by_class) == 1 + 2 * 5  # gains and biases of the conditional batch norms
    normalized = task.discriminator.eval().embedding.weight  # by singular vectors of its new rows
    assert torch.linalg.matrix_norm(normalized, 2).item() == pytest.approx(1, rel=0.02)
    assert differences(task.ema.module.state_dict(), task.generator.state_dict()) == []


def test_a_checkpoint_gives_its_networks_also_without_its_run(task, finished_run, tmp_path):
    source = finished_run / "checkpoints" / "step-4"
    for place in (source, shutil.copytree(source, tmp_path / "copied")):
        assert start(task, place).startswith(
            f"starts with the generator and discriminator of step 4 of {place}; new: 1"
        )
    given = checkpoint.load(source)["task"]["discriminator"]["score.bias"]
    assert torch.equal(task.discriminator.score.bias, given)
    with pytest.raises(UserError, match=r"there is no checkpoint .*step-5"):
        start(task, source.with_name("step-5"))


def test_a_model_gives_the_generator_alone(task, finished_run):
    discriminator = {name: value.clone() for name, value in task.discriminator.named_parameters()}
    said = start(task, finished_run / "model")
    assert said.startswith("starts with the generator of step 6 of ") and "; new: the discriminator, 1 of 3" in said
    assert moved(discriminator, task.discriminator) == set()
    saved = Generator.from_pretrained(finished_run / "model")
    assert torch.equal(task.generator.to_picture.bias, saved.to_picture.bias)


@pytest.mark.promise
@pytest.mark.parametrize("kind", ["class-conditional", "inpainting"])
def test_a_resume_is_exact(kind, request, tiny_arguments, tiny_inpainting_arguments, tmp_path, monkeypatch, capsys):
    command, task, arguments, source = (
        (DIGITS, ClassConditionalTask, tiny_arguments, "finished_run")
        if kind == "class-conditional"
        else (INPAINT, InpaintingTask, tiny_inpainting_arguments, "finished_inpainting_run")
    )
    source = request.getfixturevalue(source)
    monkeypatch.chdir(source.parent)
    more = [*arguments, "--init-from", source.name]
    assert main([*command, str(tmp_path / "whole"), *more]) == 0
    assert "new: nothing" in capsys.readouterr().out
    for step in (0, 3):  # before the first checkpoint, and after it
        run = tmp_path / f"run-{step}"
        with monkeypatch.context() as patch:
            interrupt(patch, task, step)
            assert main([*command, str(run), *more]) == 130
        if step == 0:
            (run / "checkpoints" / "step-1").rename(tmp_path / "gone")
        monkeypatch.chdir(tmp_path)
        assert main(["resume", str(run)]) == 0
        assert_same_run(run, tmp_path / "whole")
        assert loop.read_config(run).init_from == str(source)
        monkeypatch.chdir(source.parent)
