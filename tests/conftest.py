"""A tiny system that trains in seconds, and one finished run of it."""

import contextlib
import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: no test may ask the network
# The compiler's cache knows our operators by name alone: it would run what another version of them was compiled to.
os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"

import pytest
import torch

if not torch.cuda.is_available():
    # Triton decides once, when it is imported, whether a process interprets its programs: tests of the GPU backend do.
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(ImportError):
        patch.setenv("TRITON_INTERPRET", "1")
        import triton  # noqa: F401

torch.set_num_threads(1)  # sums must not depend on the machine

COMMON = {"batch_size": 4, "steps": 6, "log_every": 2, "sample_every": 3, "checkpoint_every": 2} | {
    "log_to": "none",
    "device": "cpu",
    "precision": "float32",
}
TINY = COMMON | {
    "generator.channels": (8, 8, 8, 8),
    "generator.latent_dim": 8,
    "generator.long_range.num_entities": 4,
    "discriminator.channels": (8, 8, 8, 8),
    "discriminator.embedding_dim": 8,
    "discriminator.long_range.num_entities": 4,
    "standing_batches": 2,
    "sample_rows": 3,
    "sample_columns": 2,
}
TINY_INPAINTING = COMMON | {
    "generator.image_size": 32,
    "generator.width": 4,
    "generator.branch.num_entities": 4,
    "critic.image_size": 32,
    "critic.local_size": 16,
    "critic.width": 4,
    "crop_from": 36,
    "critic_steps": 2,
    "evaluate_every": 2,
    "val_num": 6,
    "sample_rows": 2,
    "phases.at_step": 3,
}


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Downloads and reference statistics of tests stay among the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTNORM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def tiny(preset, changes):
    from attnorm.config import derive
    from attnorm.presets import get_preset

    return derive(get_preset(preset), changes)


@pytest.fixture
def tiny_config():
    return tiny("an-gan-digits", TINY)


@pytest.fixture(scope="session")
def tiny_arguments():
    """The same changes as arguments of `attnorm train`."""
    return as_arguments(TINY)


@pytest.fixture(scope="session")
def tiny_inpainting_arguments():
    """What makes the preset inpaint-an-64-cpu tiny, as arguments of `attnorm train`."""
    return as_arguments(TINY_INPAINTING)


@pytest.fixture
def tiny_inpainting_config():
    return tiny("inpaint-an-64-cpu", TINY_INPAINTING)


@pytest.fixture(scope="session")
def finished_inpainting_run(tiny_inpainting_arguments, tmp_path_factory):
    """A run of six steps, three in each phase, that nothing disturbed; copy it before you change it."""
    return trained("inpaint-an-64-cpu", tmp_path_factory, tiny_inpainting_arguments)


@pytest.fixture(scope="session")
def finished_run(tiny_arguments, tmp_path_factory):
    """A run of six steps that nothing disturbed; copy it before you change it."""
    return trained("an-gan-digits", tmp_path_factory, tiny_arguments)


def trained(preset, folders, arguments):
    from attnorm.cli import main

    run = folders.mktemp(f"finished-{preset}") / "run"
    assert main(["train", preset, "--data", "digits", "--out", str(run), *arguments]) == 0
    return run


def as_arguments(changes):
    arguments = []
    for name, value in changes.items():
        values = value if isinstance(value, tuple) else (value,)
        arguments += [f"--{name}", *(str(v).lower() for v in values)]
    return arguments


@pytest.fixture
def run_copy(finished_run, tmp_path):
    """A copy of the finished run that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "run")
