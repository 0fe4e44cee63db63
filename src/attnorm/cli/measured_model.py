"""Which weights `attnorm evaluate` measures, and what their run says about them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import nn

from attnorm.cache import cache_folder
from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics.processes import check_alike
from attnorm.models.saved import find_model, step_of
from attnorm.publishing.run_facts import read_run
from attnorm.shipped import CONFIG_FILE
from attnorm.training.checkpoint import latest_step
from attnorm.training.class_conditional import ClassConditionalConfig
from attnorm.training.config import TrainingConfig
from attnorm.training.inpainting import InpaintingConfig
from attnorm.training.loop import read_config
from attnorm.training.run_folder import BEST, CHECKPOINTS, CONFIG, MODEL, PREPARED

Choice = Literal["ema", "raw"] | None


class MeasuredModel(NamedTuple):
    """The weights to measure.

    source: as named on the command line.
    run, config: which they are a part of; None for a model from elsewhere, whose weights may be averaged or not.
    step: of training, None if unknown.
    in_checkpoint: whether the weights are in the run's newest checkpoint only.
    name: of such weights in a record's file name; empty for those that every other command takes.
    """

    source: str
    run: Path | None
    config: TrainingConfig | None
    weights: Literal["ema", "raw", "unknown"]
    step: int | None
    in_checkpoint: bool = False
    name: str = ""

    @property
    def prepared(self) -> Path:
        """Where prepared images are: the runs in one folder share them."""
        return (cache_folder() if self.run is None else self.run.resolve().parent) / PREPARED

    def data(self, given: str | Path | None) -> str:
        """The data that was given, or the run's own.

        Raises:
            UserError: neither is there.
        """
        if given is None and self.config is None:
            raise UserError(f"{self.source} is no run, so its data is unknown: give --data")
        return str(given) if given is not None else self.config.data if self.config is not None else ""


def measured_model(source: str, choice: Choice) -> MeasuredModel:
    """What is known about a run, its folder `best` or `model`, or a model from elsewhere.

    Raises:
        UserError: the chosen weights are not there, or the run's records do not say which step the best ones are of.
    """
    path = Path(source)
    run = _run_of(path)
    if run is None:
        if choice is not None:
            raise UserError(f"--weights chooses among those of a run, and {source} is none: leave it out")
        return MeasuredModel(source, None, None, "unknown", step_of(find_model(source)))
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
        return MeasuredModel(source, run, config, "raw", step, in_checkpoint=True, name="raw")
    weights: Literal["ema", "raw"] = "ema" if averaged else "raw"
    best = path != run and path.name == BEST
    step = step_of(run / (BEST if best else MODEL))
    if step is None:
        step = read_run(run, "best").step if best else latest_step(run / CHECKPOINTS)
    return MeasuredModel(source, run, config, weights, step, name=BEST if best else "")


def check_loaded(model: MeasuredModel, choice: Choice, network: nn.Module, dataset: ImageDataset) -> None:
    """Checks that the loaded weights are those that the record names, and that all processes have the same weights and
    images. All processes must call it together.

    Raises:
        UserError: the run has saved other weights meanwhile, or a process has others.
    """
    if measured_model(model.source, choice).step != model.step:
        raise UserError(f"{model.source} has saved another model while this one was being loaded: start again")
    checksum = 0
    for value in network.state_dict().values():
        checksum = zlib.crc32(value.cpu().contiguous().flatten().view(torch.uint8).numpy(), checksum)
    facts = {
        "the step of the model": model.step,
        "the checksum of its weights": f"{checksum:08x}",
        "the number of images": len(dataset),
        "their checksum": f"{dataset.checksum():08x}",
    }
    check_alike(facts, f"{model.source} and the images must be the same on every machine, and stay so meanwhile")


def _run_of(path: Path) -> Path | None:
    """The run itself, or that of a folder of its weights."""
    if (path / CONFIG).is_file():
        return path
    is_part = path.name in (BEST, MODEL) and (path / CONFIG_FILE).is_file() and (path.parent / CONFIG).is_file()
    return path.parent if is_part else None
