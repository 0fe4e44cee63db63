"""The command that trains a run again, from its configuration."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from attnorm.config import to_dict
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
    wanted = _fields(to_dict(config))
    differences = {name: _differences(wanted, preset) for name, preset in PRESETS.items() if preset.task == config.task}
    name = min(differences, key=lambda name: len(differences[name]))
    words = ["attnorm", "train", name, "--data", data_name(config.data), "--out", "RUN"]
    for field, value in differences[name].items():
        words += [f"--{field}", *_as_words(field, value)]
    return shlex.join(words)


def field_names(config: TrainingConfig) -> list[str]:
    """Every field that `attnorm train` takes as an option, by its dotted name."""
    return list(_fields(to_dict(config)))


def data_name(data: str) -> str:
    """The name of a built-in set, or DATA for what lies on somebody's disk."""
    return data if data in BUILTIN else "DATA"


def _fields(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every field by its dotted name."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        found |= _fields(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _differences(wanted: Mapping[str, Any], preset: TrainingConfig) -> dict[str, Any]:
    had = _fields(to_dict(preset))
    return {name: value for name, value in wanted.items() if value != had[name] and name not in FOUND_OUT}


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
