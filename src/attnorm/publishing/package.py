"""From a run to a folder that others can load: weights, configuration, sample pictures and a card."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from attnorm.errors import UserError
from attnorm.inpainting_pipeline import InpaintingPipeline
from attnorm.metrics.inpainting import composite
from attnorm.models.class_conditional import Generator
from attnorm.models.inpainting import InpaintingGenerator
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.publishing.card import Card, Storage
from attnorm.publishing.data_sheet import data_sheet
from attnorm.publishing.measurements import measurements
from attnorm.publishing.run_facts import Choice, RunFacts, read_run
from attnorm.publishing.samples import (
    example_pictures,
    generator_pictures,
    generator_sheets,
    inpainter_holes,
    inpainter_sheets,
)
from attnorm.shipped import CARD_FILE, CONFIG_FILE, TRAINING_FILE
from attnorm.training.inpainting import InpaintingConfig

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MODEL_FILES = (CONFIG_FILE, SAFETENSORS_SINGLE_FILE, TRAINING_FILE)  # the last is not of every version
READABLE = 0o644  # safetensors writes files that only their owner may read

Pipeline = ClassConditionalPipeline | InpaintingPipeline


@dataclass(frozen=True)
class Wishes:
    """What a run does not know of itself. The fields are the options of `attnorm package`; None for the default."""

    weights: Choice | None = None
    dtype: str = "float32"
    licence: str = "mit"
    limits: Sequence[str] = ()
    results: Sequence[Path] = ()
    pictures: str | None = None  # to complete, for the samples of an inpainting model
    data_id: str | None = None
    data_about: str | None = None
    data_licence: str | None = None
    data_url: str | None = None


def package(run: Path, folder: Path, name: str, wishes: Wishes) -> Card:
    """Writes the folder of a run's model under the name by which others will load it; returns its card.

    Raises:
        UserError: the run has no model, something has to be said that is not, or the folder exists or cannot be
            written.
    """
    facts = read_run(run, wishes.weights)
    data = data_sheet(facts.config.data, wishes.data_id, wishes.data_about, wishes.data_licence, wishes.data_url)
    measured = measurements(facts, wishes.results)
    if folder.exists():
        raise UserError(f"{folder} exists already: remove it, or choose another name")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
            aside = Path(temporary) / folder.name
            sheets, storage = _write_model(facts, aside, wishes)
            for file, sheet in sheets.items():  # not plots.save_picture: its errors would name the temporary folder
                Image.fromarray(sheet).save(aside / file)
            card = Card(name, facts, data, measured, storage, list(sheets), wishes.licence, wishes.limits)
            (aside / CARD_FILE).write_text(str(card), encoding="utf-8")
            aside.rename(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot write {folder} ({reason}): make room, or choose another place") from error
    return card


def _write_model(facts: RunFacts, folder: Path, wishes: Wishes) -> tuple[dict[str, np.ndarray], Storage]:
    """Writes the weights and their configuration; returns the sample sheets that they make."""
    dtype = DTYPES[wishes.dtype]
    original = _load(facts, facts.folder)
    folder.mkdir()
    for name in MODEL_FILES:  # by name, so that nobody publishes what else lies there
        if (facts.folder / name).is_file():
            shutil.copyfile(facts.folder / name, folder / name)
    weights = folder / SAFETENSORS_SINGLE_FILE
    if dtype != torch.float32:
        save_file(_rounded(original.generator, dtype), weights, metadata={"format": "pt"})
    for path in folder.iterdir():
        path.chmod(READABLE)
    stored = _load(facts, folder)
    if isinstance(original, InpaintingPipeline) and isinstance(stored, InpaintingPipeline):
        pictures = example_pictures(
            facts.config.image_size, wishes.pictures, cache=facts.run.resolve().parent / "prepared-data"
        )
        holes = inpainter_holes(pictures)
        before, after = (
            composite(pictures, each.stages(pictures, holes).refined, holes) for each in (original, stored)
        )
        sheets = inpainter_sheets(stored, pictures)
    else:
        assert isinstance(original, ClassConditionalPipeline) and isinstance(stored, ClassConditionalPipeline)
        if wishes.pictures is not None:
            raise UserError("--pictures are completed by inpainting models, and this run draws its own: leave it out")
        before, after = generator_pictures(original), generator_pictures(stored)
        sheets = generator_sheets(stored)
    difference = None if dtype == torch.float32 else np.abs(before.astype(int) - after.astype(int))
    parameters = sum(parameter.numel() for parameter in original.generator.parameters())
    return sheets, Storage(parameters, wishes.dtype, difference)


def _load(facts: RunFacts, folder: Path) -> Pipeline:
    kind = InpaintingPipeline if isinstance(facts.config, InpaintingConfig) else ClassConditionalPipeline
    return kind.from_pretrained(folder)


def _rounded(network: Generator | InpaintingGenerator, dtype: torch.dtype) -> dict[str, Tensor]:
    """The state with parameters in another dtype; buffers, moments and singular vectors, stay as they are."""
    parameters = dict(network.named_parameters())
    state = network.state_dict()
    return {name: (value.to(dtype) if name in parameters else value).contiguous() for name, value in state.items()}
