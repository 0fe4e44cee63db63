"""Which weights `attnorm evaluate` measures, and what their run says about them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from attnorm.cache import cache_folder
from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics.processes import check_alike
from attnorm.models.pretrained import find_model, step_of
from attnorm.shipped import CONFIG_FILE
from attnorm.training.checkpoint import latest_step
from attnorm.training.loop import read_config
from attnorm.training.run_folder import CHECKPOINTS, CONFIG, MODEL, PREPARED, SAVED


class MeasuredModel(NamedTuple):
    """The weights to measure.

    source: as named on the command line.
    run, config: which they are a part of; None for a model from elsewhere, whose weights may be averaged or not.
    step: of training, None if unknown.
    name: "raw" for weights that are in the newest checkpoint only, else the folder's name unless it is the usual one.
    """

    source: str
    run: Path | None
    config: Any
    weights: Literal["ema", "raw", "unknown"]
    step: int | None
    name: str = ""

    @property
    def prepared(self) -> Path:
        """Where prepared images are: the runs in one folder share them."""
        return (cache_folder() if self.run is None else self.run.resolve().parent) / PREPARED


def measured_model(source: str, choice: Literal["ema", "raw"] | None) -> MeasuredModel:
    """What is known about a run, one of its folders with a saved model, or a model from elsewhere.

    Raises:
        UserError: the chosen weights are not there.
    """
    path = Path(source)
    is_part = path.name in SAVED and (path / CONFIG_FILE).is_file() and (path.parent / CONFIG).is_file()
    run = path.parent if is_part else path
    if not (run / CONFIG).is_file():
        if choice is not None:
            raise UserError(f"--weights chooses among those of a run, and {source} is none: leave it out")
        return MeasuredModel(source, None, None, "unknown", step_of(find_model(source)))
    config: Any = read_config(run)
    weights: Literal["ema", "raw"] = "ema" if config.ema_half_life > 0 else "raw"
    if choice == "ema" and weights == "raw":
        raise UserError(f"{run} was trained with ema_half_life 0 and has no averaged weights: leave --weights out")
    if choice == "raw" and weights == "ema":
        step = latest_step(run / CHECKPOINTS)
        if is_part or step is None:
            raise UserError(f"{source} has no raw weights: they are in the checkpoints of a run")
        return MeasuredModel(source, run, config, "raw", step, "raw")
    name = path.name if is_part else MODEL
    return MeasuredModel(source, run, config, weights, step_of(run / name), "" if name == MODEL else name)


def data_of(model: MeasuredModel, given: str | Path | None) -> str:
    """The data that was given, or the run's own.

    Raises:
        UserError: neither is there.
    """
    if given is None and model.config is None:
        raise UserError(f"{model.source} is not a run, so its data is unknown: give --data")
    return str(model.config.data if given is None else given)


def check_loaded(model: MeasuredModel, network: nn.Module, dataset: ImageDataset) -> None:
    """All processes must call it together.

    Raises:
        UserError: some process has other weights or images.
    """
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
