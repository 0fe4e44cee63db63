"""The discriminator comes back from a run's newest whole checkpoint."""

import shutil

import pytest
import torch

from attnorm import ClassConditionalPipeline, InpaintingPipeline
from attnorm.cli import main
from attnorm.errors import UserError
from attnorm.training.loop import read_config
from attnorm.training.restore import load_discriminator, load_raw_generator, load_raw_inpainter


def test_the_discriminator_is_the_checkpoints(finished_run):
    restored = load_discriminator(finished_run)
    state = torch.load(finished_run / "checkpoints" / "step-6" / "state.pt", weights_only=True)
    assert (restored.step, restored.complaints) == (6, [])
    assert restored.class_names == tuple("0123456789")
    assert not restored.network.training
    assert restored.network.config == read_config(finished_run).discriminator
    for name, value in restored.network.state_dict().items():
        assert torch.equal(value, state["task"]["discriminator"][name])


def test_a_damaged_checkpoint_is_passed_over_and_said(run_copy):
    (run_copy / "checkpoints" / "step-6" / "state.pt").write_bytes(b"")
    restored = load_discriminator(run_copy)
    assert restored.step == 4
    assert len(restored.complaints) == 1
    assert "step-6 is damaged" in restored.complaints[0]


def test_a_run_without_a_checkpoint_is_refused(run_copy):
    shutil.rmtree(run_copy / "checkpoints")
    with pytest.raises(UserError, match="has no checkpoint yet: the first one is written at step 2"):
        load_discriminator(run_copy)


def test_a_checkpoint_of_another_network_is_refused(run_copy):
    config = run_copy / "config.yaml"
    config.write_text(config.read_text().replace("embedding_dim: 8", "embedding_dim: 9"))
    with pytest.raises(UserError, match="does not fit"):
        load_discriminator(run_copy)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is no run: it has no config\.yaml"):
        load_discriminator(tmp_path)


def test_the_raw_generator_of_a_run_without_averaging_is_the_one_that_it_saves(tiny_arguments, tmp_path):
    run, plain = tmp_path / "run", [*tiny_arguments, "--ema_half_life", "0", "--steps", "2"]
    assert main(["train", "an-gan-digits", "--data", "digits", "--out", str(run), *plain]) == 0
    raw = load_raw_generator(run, read_config(run))
    saved = ClassConditionalPipeline.from_pretrained(run).generator.state_dict()
    assert not raw.training
    for name, value in raw.state_dict().items():
        torch.testing.assert_close(value, saved[name], msg=name)  # standing statistics too


def test_the_raw_weights_are_the_checkpoints_and_not_the_average(finished_run, finished_inpainting_run):
    for run, load, pipe in (
        (finished_run, load_raw_generator, ClassConditionalPipeline),
        (finished_inpainting_run, load_raw_inpainter, InpaintingPipeline),
    ):
        raw = dict(load(run, read_config(run)).named_parameters())
        state = torch.load(run / "checkpoints" / "step-6" / "state.pt", weights_only=True)["task"]["generator"]
        averaged = dict(pipe.from_pretrained(run).generator.named_parameters())
        assert all(torch.equal(value, state[name]) for name, value in raw.items())
        assert not all(torch.equal(value, averaged[name]) for name, value in raw.items())


def test_raw_weights_behind_a_damaged_checkpoint_are_refused(run_copy):
    (run_copy / "checkpoints" / "step-6" / "state.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"step-6 is damaged .*: write it anew with `attnorm resume"):
        load_raw_generator(run_copy, read_config(run_copy))
