"""The weights that a run keeps only in its checkpoints: the generator without averaging."""

from __future__ import annotations

from pathlib import Path

from attnorm.errors import UserError
from attnorm.models.class_conditional import Generator
from attnorm.models.inpainting import InpaintingGenerator
from attnorm.training import checkpoint
from attnorm.training.averaging import Network
from attnorm.training.class_conditional import ClassConditionalConfig, prepare_for_sampling
from attnorm.training.inpainting import InpaintingConfig
from attnorm.training.run_folder import CHECKPOINTS, CONFIG, resume_command


def load_raw_generator(run: Path, config: ClassConditionalConfig, device: str = "cpu") -> Generator:
    """The generator of a run's newest checkpoint as the last step left it, not averaged, in eval mode.

    Its batch norms are measured as those of the averaged generator are: the two differ in the averaging alone.

    Raises:
        UserError: the newest checkpoint is damaged or does not fit `config`, or there is none yet.
    """
    network = _load(Generator(config.generator), run).to(device)
    prepare_for_sampling(network, config)
    return network


def load_raw_inpainter(run: Path, config: InpaintingConfig, device: str = "cpu") -> InpaintingGenerator:
    """As `load_raw_generator`, of an inpainting run."""
    return _load(InpaintingGenerator(config.generator), run).to(device).eval()


def _load(network: Network, run: Path) -> Network:
    state, damaged = checkpoint.newest(run / CHECKPOINTS)
    if state is None:
        raise UserError(f"{run} has no checkpoint yet")
    if damaged:  # an older one in its place would have other weights than its step says
        raise UserError(f"{damaged[0]}: write it again with `{resume_command(run)}`")
    try:
        network.load_state_dict(state["task"]["generator"])
    except (RuntimeError, KeyError) as error:
        raise UserError(f"the checkpoint in {run} does not fit {run / CONFIG}: undo its changes") from error
    return network
