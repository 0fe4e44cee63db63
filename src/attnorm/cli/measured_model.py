"""Which weights `attnorm evaluate` measures, and what the run that they are a part of says of them."""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import nn

from attnorm.cache import cache_folder
from attnorm.data.dataset import ImageDataset
from attnorm.distributed import check_alike
from attnorm.errors import UserError
from attnorm.models.pretrained import find_model, step_of
from attnorm.shipped import CONFIG_FILE
from attnorm.training.checkpoint import latest_step
from attnorm.training.class_conditional import ClassConditionalConfig
from attnorm.training.config import TrainingConfig
from attnorm.training.inpainting import InpaintingConfig
from attnorm.training.loop import read_config
from attnorm.training.run_folder import CHECKPOINTS, CONFIG, MODEL, PREPARED, SAVED

WEIGHTS = ("ema", "raw")


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        choices=WEIGHTS,
        help="of a run: averaged (default, unless the run kept no average), or raw, as its newest checkpoint has them",
    )


class MeasuredModel(NamedTuple):
    """run, config: of which it is a part; None of a model from elsewhere, of whose weights it is not known whether they
    are averaged. step: of training, None if nothing says.
    in_checkpoint: the weights are in the run's newest checkpoint only. name: of such weights in a record's file name,
    empty for those that every other command takes.
    """

    run: Path | None
    config: TrainingConfig | None
    weights: Literal["ema", "raw", "unknown"]
    step: int | None
    in_checkpoint: bool = False
    name: str = ""

    @property
    def prepared(self) -> Path:
        """Where prepared pictures are: a run's neighbours share those that were prepared for it."""
        return (cache_folder() if self.run is None else self.run.resolve().parent) / PREPARED


def measured_model(source: str, choice: Literal["ema", "raw"] | None) -> MeasuredModel:
    """What is known of a run, of one of its folders with a saved model, or of a model from elsewhere.

    Raises:
        UserError: the weights chosen are not there, or the run's records do not say which step the best ones are of.
    """
    path = Path(source)
    run = _run_of(path)
    if run is None:
        if choice is not None:
            raise UserError(f"--weights chooses among those of a run, and {source} is none: leave it out")
        return MeasuredModel(None, None, "unknown", step_of(find_model(source)))
    config = read_config(run)
    averaged = isinstance(config, ClassConditionalConfig | InpaintingConfig) and config.ema_half_life > 0
    if choice == "ema" and not averaged:
        raise UserError(f"{run} was trained with ema_half_life 0 and has no averaged weights: leave --weights out")
    if choice == "raw" and averaged:
        if path != run:
            raise UserError(f"{source} holds averaged weights only; the raw ones are in the checkpoints: give {run}")
        step = latest_step(run / CHECKPOINTS)
        if step is None:
            raise UserError(f"{run} has no checkpoint, where its raw weights would be: leave --weights out")
        return MeasuredModel(run, config, "raw", step, in_checkpoint=True, name="raw")
    weights: Literal["ema", "raw"] = "ema" if averaged else "raw"
    name = MODEL if path == run else path.name
    return MeasuredModel(run, config, weights, step_of(run / name), name="" if name == MODEL else name)


def check_loaded(args: argparse.Namespace, model: MeasuredModel, network: nn.Module, dataset: ImageDataset) -> None:
    """Finds out whether the weights that were loaded are those of which the record will speak, and whether all
    processes of a group have the same weights and pictures. All must call it together.

    Raises:
        UserError: the run has saved others meanwhile, or some process has others.
    """
    if measured_model(args.model, args.weights).step != model.step:
        raise UserError(f"{args.model} has saved another model while this one was being loaded: start again")
    checksum = 0
    for value in network.state_dict().values():
        checksum = zlib.crc32(value.cpu().contiguous().flatten().view(torch.uint8).numpy(), checksum)
    facts = {
        "the step of the model": model.step,
        "the checksum of its weights": f"{checksum:08x}",
        "the number of pictures": len(dataset),
        "their checksum": f"{dataset.checksum():08x}",
    }
    check_alike(facts, f"{args.model} and the pictures must be the same on every machine, and stay so meanwhile")


def _run_of(path: Path) -> Path | None:
    """The run itself, or that of a folder of its weights."""
    if (path / CONFIG).is_file():
        return path
    is_part = path.name in SAVED and (path / CONFIG_FILE).is_file() and (path.parent / CONFIG).is_file()
    return path.parent if is_part else None
