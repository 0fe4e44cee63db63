"""The command on a card trains the same configuration."""

import shlex

import pytest

from attnorm.config import derive, parse_overrides
from attnorm.hub.card import training_command
from attnorm.presets import get_preset, presets


@pytest.mark.parametrize("name", ["an-gan-digits", "sn-gan-cifar10-cpu", "inpaint-an-128-cpu", "inpaint-ca-256"])
def test_a_preset_needs_its_name_alone(name):
    command = training_command(derive(presets()[name], {"data": "digits"}))
    assert command == f"attnorm train {name} --data digits --out RUN"


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        (
            "an-gan-digits",
            {"steps": 77, "generator.channels": (8, 8, 8, 8), "lr_schedule": "cosine", "augment": ("translation",)},
        ),
        ("an-gan-cifar10", {"generator.long_range.entity_std": 0.02, "horizontal_flip": False, "generator_lr": 1e-5}),
        ("inpaint-an-64-cpu", {"masks.kind": "strokes", "phases.at_step": 7, "betas": (0.5, 0.99), "crop_from": 99}),
    ],
)
def test_the_command_trains_the_same(preset, changes):
    config = derive(presets()[preset], {**changes, "data": "digits"})
    if hasattr(config, "for_classes"):
        config = config.for_classes(tuple("0123456789"))
    words = shlex.split(training_command(config))
    assert words[:7] == ["attnorm", "train", preset, "--data", "digits", "--out", "RUN"]
    again = derive(get_preset(preset), {**parse_overrides(words[7:], get_preset(preset)), "data": "digits"})
    assert (again.for_classes(tuple("0123456789")) if hasattr(again, "for_classes") else again) == config
