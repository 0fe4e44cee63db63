"""The command on a card trains the same configuration."""

import shlex

import pytest

from attnorm.config import derive, override
from attnorm.presets import PRESETS, get_preset
from attnorm.publishing.training_command import training_command


def trained_by(command, data, like):
    """The configuration that `attnorm train` would make of a command for pictures with the classes of `like`."""
    words = shlex.split(command)
    assert words[:2] == ["attnorm", "train"] and words[3:7:2] == ["--data", "--out"]
    config = derive(override(get_preset(words[2]), words[7:]), {"data": data})
    return config.for_classes(like.generator.class_names) if hasattr(config, "for_classes") else config


@pytest.mark.parametrize("name", ["an-gan-digits", "sn-gan-cifar10-cpu", "inpaint-an-128-cpu", "inpaint-ca-256"])
def test_a_preset_as_it_is_needs_its_name_alone(name):
    command = training_command(derive(PRESETS[name], {"data": "digits"}))
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
def test_what_differs_is_said_so_that_it_trains_the_same(preset, changes):
    config = derive(PRESETS[preset], {**changes, "data": "digits"})
    if hasattr(config, "for_classes"):
        config = config.for_classes(tuple("0123456789"))
    command = training_command(config)
    assert f"attnorm train {preset} " in command
    assert trained_by(command, "digits", config) == config


def test_the_paths_of_a_machine_are_left_out():
    changes = {"data": "/home/me/pictures", "val_data": "/home/me/more", "masks.folder": "/home/me/masks"}
    config = derive(
        derive(
            PRESETS["inpaint-an-64-cpu"],
            {"masks": type(PRESETS["inpaint-an-64-cpu"].masks)("folder", folder="/home/me/masks")},
        ),
        {k: v for k, v in changes.items() if k != "masks.folder"},
    )
    command = training_command(config)
    assert "/home" not in command
    for word in ("--data DATA", "--val_data VALIDATION_DATA", "--masks.folder MASKS"):
        assert word in command


def test_a_feature_network_known_by_name_keeps_it():
    config = derive(PRESETS["an-gan-digits"], {"data": "digits", "evaluation.extractor": "inception"})
    assert "--evaluation.extractor inception" in training_command(config)
    config = derive(config, {"evaluation.extractor": "inception-2015-12-05.pt"})
    assert "--evaluation.extractor INCEPTION_FILE" in training_command(config)
