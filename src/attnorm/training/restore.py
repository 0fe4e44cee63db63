"""The networks that a run keeps in its checkpoints only: its discriminator, and its generator without the averaging."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from attnorm.errors import UserError
from attnorm.models.class_conditional import Discriminator, Generator
from attnorm.models.inpainting import InpaintingGenerator
from attnorm.training import checkpoint
from attnorm.training.class_conditional import ClassConditionalConfig, prepare_for_sampling
from attnorm.training.config import TrainingConfig
from attnorm.training.inpainting import InpaintingConfig
from attnorm.training.journal import resume_command
from attnorm.training.loop import read_config
from attnorm.training.run_folder import CHECKPOINTS, CONFIG


class RestoredDiscriminator(NamedTuple):
    """network: in eval mode. step: of the checkpoint. class_names: those that it was trained on. complaints: a sentence
    for each damaged checkpoint passed over.
    """

    network: Discriminator
    step: int
    class_names: tuple[str, ...]
    complaints: list[str]


def load_discriminator(run: Path, device: str = "cpu") -> RestoredDiscriminator:
    """The discriminator of a run's newest whole checkpoint.

    Raises:
        UserError: the folder holds no run, no whole checkpoint yet, or one that does not fit its config.yaml.
    """
    config = read_config(run)
    if not isinstance(config, ClassConditionalConfig):
        raise UserError(f"{run} is a run of the task {config.task}, which has no such discriminator")
    state, complaints = _newest(run, config, device)
    network = Discriminator(config.discriminator).to(device)
    _fill(network, state, "discriminator", run)
    return RestoredDiscriminator(network.eval(), state["step"], config.generator.class_names, complaints)


def load_raw_generator(run: Path, config: ClassConditionalConfig, device: str = "cpu") -> Generator:
    """The generator of a run's newest checkpoint as the last step left it, not averaged, in eval mode.

    The moments of its batch norms are measured as those of the averaged generator are, which a run saves: the two
    differ in the averaging alone.

    Raises:
        UserError: the newest checkpoint is damaged or does not fit `config`, or there is none yet.
    """
    network = Generator(config.generator).to(device)
    _fill(network, _newest_whole(run, config, device), "generator", run)
    prepare_for_sampling(network, config)
    return network


def load_raw_inpainter(run: Path, config: InpaintingConfig, device: str = "cpu") -> InpaintingGenerator:
    """As `load_raw_generator`, of an inpainting run."""
    network = InpaintingGenerator(config.generator).to(device)
    _fill(network, _newest_whole(run, config, device), "generator", run)
    return network.eval()


def _newest(run: Path, config: TrainingConfig, device: str) -> tuple[dict[str, Any], list[str]]:
    """The newest whole checkpoint, and a sentence for each damaged one passed over."""
    state, complaints = checkpoint.newest(run / CHECKPOINTS, torch.device(device))
    if state is None:
        raise UserError(
            f"the run {run} has no checkpoint yet: the first one is written at step {config.checkpoint_every}"
        )
    return state, complaints


def _newest_whole(run: Path, config: TrainingConfig, device: str) -> dict[str, Any]:
    """The newest checkpoint: an older one in its place would have other weights than the step says."""
    state, complaints = _newest(run, config, device)
    if complaints:
        raise UserError(f"{complaints[0]}: write it anew with `{resume_command(run)}`")
    return state


def _fill(network: nn.Module, state: dict[str, Any], name: str, run: Path) -> None:
    try:
        network.load_state_dict(state["task"][name])
    except (RuntimeError, KeyError, TypeError) as error:
        raise UserError(f"the checkpoint in {run} does not fit {run / CONFIG}: undo its changes") from error
