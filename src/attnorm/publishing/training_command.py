"""The command that trains a run again, from its configuration."""

from __future__ import annotations

import shlex
from typing import Any

from attnorm.config import differences, flat
from attnorm.data.builtin import BUILTIN
from attnorm.metrics.features import EFFICIENTNET, INCEPTION
from attnorm.presets import PRESETS
from attnorm.training.config import TrainingConfig

# What `attnorm train` finds out from the data and the machine.
FOUND_OUT = ("data", "device", "generator.class_names", "generator.num_classes", "discriminator.num_classes")
# Paths of one person's machine say nothing to another.
PLACES = {"val_data": "VALIDATION_DATA", "masks.folder": "MASKS", "evaluation.extractor": "INCEPTION_FILE"}


def training_command(config: TrainingConfig) -> str:
    """`attnorm train PRESET …`, with the preset that has most in common with `config` and the fields that differ.

    Data and other files are written as capital letters, but for built-in sets and networks known by name.
    """
    changes = {name: _changes(config, preset) for name, preset in PRESETS.items() if preset.task == config.task}
    name = min(changes, key=lambda name: len(changes[name]))
    words = ["attnorm", "train", name, "--data", data_name(config.data), "--out", "RUN"]
    for field, value in changes[name].items():
        words += [f"--{field}", *_as_words(field, value)]
    return shlex.join(words)


def field_names(config: TrainingConfig) -> list[str]:
    """Every field that `attnorm train` takes as an option, by its dotted name."""
    return list(flat(config))


def data_name(data: str) -> str:
    """The name of a built-in set, or DATA for what lies on somebody's disk."""
    return data if data in BUILTIN else "DATA"


def _changes(config: TrainingConfig, preset: TrainingConfig) -> dict[str, Any]:
    return {name: value for name, value, _ in differences(config, preset) if name not in FOUND_OUT}


def _as_words(field: str, value: Any) -> list[str]:
    """A value as `attnorm.config.override` reads it."""
    if field in PLACES and value and value not in (*BUILTIN, EFFICIENTNET, INCEPTION):
        return [PLACES[field]]
    if isinstance(value, list):
        return [_as_word(one) for one in value] or ["[]"]
    return [_as_word(value)]


def _as_word(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
