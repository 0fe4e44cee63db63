"""The discriminator comes back from a run's newest whole checkpoint."""

import shutil

import pytest
import torch

from attnorm.errors import UserError
from attnorm.training.loop import read_config
from attnorm.training.restore import load_discriminator


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
