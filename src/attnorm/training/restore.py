"""The networks of a run that are not published with its model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from attnorm.errors import UserError
from attnorm.models.class_conditional import Discriminator
from attnorm.training import checkpoint
from attnorm.training.class_conditional import ClassConditionalConfig
from attnorm.training.loop import CHECKPOINTS, read_config


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
    state, complaints = checkpoint.newest(run / CHECKPOINTS, torch.device(device))
    if state is None:
        raise UserError(
            f"the run {run} has no checkpoint yet: the first one is written at step {config.checkpoint_every}"
        )
    network = Discriminator(config.discriminator).to(device)
    try:
        network.load_state_dict(state["task"]["discriminator"])
    except (RuntimeError, KeyError, TypeError) as error:
        raise UserError(f"the checkpoint in {run} does not fit {run / 'config.yaml'}: undo its changes") from error
    return RestoredDiscriminator(network.eval(), state["step"], config.generator.class_names, complaints)
