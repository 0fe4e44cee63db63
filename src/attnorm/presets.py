"""Named configurations: the paper's systems and ablations, each written as its difference from a parent.

A name is SYSTEM-DATA. The data stands for a size and a number of steps: any pictures of that size will do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from attnorm.config import derive, nearest
from attnorm.errors import UserError
from attnorm.models.class_conditional import ARCHITECTURES, DiscriminatorConfig, GeneratorConfig
from attnorm.training.class_conditional import ClassConditionalConfig


class Variant(NamedTuple):
    """A system, or the settings for a kind of data: its parent and what it changes in it, by dotted field names."""

    about: str
    parent: str | None
    changes: dict[str, Any]


def _layers(**fields: Any) -> dict[str, Any]:
    """These fields of the long-range layer, in both networks."""
    return {f"{network}.long_range.{name}": value for network in NETWORKS for name, value in fields.items()}


NETWORKS = ("generator", "discriminator")

# What makes a system, whatever its size.
SYSTEMS = {
    "sn-gan-star": Variant("spectral norm in both networks, no long-range layer", None, {}),
    "sn-gan": Variant(
        "spectral norm in the discriminator only, with its paper's five updates of it and learning rates",
        "sn-gan-star",
        {
            "generator.spectral_norm": False,
            "generator_lr": 2e-4,
            "discriminator_lr": 2e-4,
            "betas": (0.0, 0.9),
            "discriminator_steps": 5,
        },
    ),
    # The paper quotes its row from Miyato & Koyama (2018), who train it in SN-GAN's networks, as here.
    "ac-gan": Variant(
        "an auxiliary classifier in place of a label that enters", "sn-gan", {"discriminator.conditioning": "auxiliary"}
    ),
    "sa-gan": Variant("self-attention", "sn-gan-star", _layers(kind="self_attention")),
    "an-gan": Variant("attentive normalization", "sn-gan-star", _layers(kind="attentive_norm")),
    # Table 4 of the paper.
    "an-gan-bn": Variant("batch statistics in the regions", "an-gan", _layers(statistics="batch")),
    "an-gan-no-orth": Variant("no orthogonal regularisation", "an-gan", {"orthogonal_weight": 0.0}),
    "an-gan-no-ssr": Variant("no self-sampling regularisation", "an-gan", _layers(self_sampling=False)),
    "an-gan-n8": Variant("8 entities", "an-gan", _layers(num_entities=8)),
    "an-gan-n32": Variant("32 entities", "an-gan", _layers(num_entities=32)),
    # Where the paper's text and its Algorithm 1 differ.
    "an-gan-algorithm1": Variant("Algorithm 1's variance", "an-gan", _layers(variance="algorithm1")),
    "an-gan-shared": Variant("Algorithm 1's affine: one for all entities", "an-gan", _layers(affine="shared")),
}

# In 10 000 steps the paper's learning rates do not come far: after 2000 steps of an-gan-cifar10-cpu these had a lower
# Frechet distance than the paper's after 3000, and five times the paper's did not train (docs/results.md).
SHORT_RUN = {"generator_lr": 2.5e-4, "discriminator_lr": 1e-3}

# The settings for a size and a budget. The first three are full-sized; the others are small enough for a processor.
DATA = {
    # Paper, §4: batch 256, learning rates 1e-4 and 4e-4, 1000 K steps for the baselines and 880 K for AN.
    "imagenet128": Variant(
        "the paper's networks and settings",
        None,
        {"batch_size": 256, "steps": 1_000_000, "log_every": 100, "sample_every": 5000, "checkpoint_every": 5000},
    ),
    # The public re-implementations' settings at these sizes: 100 K steps.
    "tiny-imagenet": Variant(
        "64 pixels", None, {"batch_size": 256, "steps": 100_000, "sample_every": 2000, "checkpoint_every": 2000}
    ),
    "cifar10": Variant(
        "32 pixels", None, {"batch_size": 64, "steps": 100_000, "sample_every": 2000, "checkpoint_every": 2000}
    ),
    "cifar10-cpu": Variant(
        "64 channels",
        "cifar10",
        {
            "generator.channels": (64, 64, 64, 64),
            "discriminator.channels": (64, 64, 64, 64),
            "batch_size": 32,
            "steps": 10_000,
            "sample_every": 500,
            "checkpoint_every": 500,
            **SHORT_RUN,
            # At these widths the paper's temperature of 0.1 leaves the layout uniform: its features have a deviation
            # near 5, these below 1. Ten times that gives a layout that has regions (docs/results.md).
            **_layers(temperature=1.0),
        },
    ),
    "tiny-imagenet-cpu": Variant(
        "32 to 128 channels",
        "tiny-imagenet",
        {
            "generator.channels": (128, 128, 64, 64, 32),
            "discriminator.channels": (32, 64, 64, 128, 128),
            "batch_size": 32,
            "steps": 10_000,
            "sample_every": 500,
            "checkpoint_every": 500,
            **SHORT_RUN,
            **_layers(temperature=1.0),
        },
    ),
    "digits": Variant(
        "32 channels",
        "cifar10-cpu",
        {
            "generator.channels": (32, 32, 32, 32),
            "discriminator.channels": (32, 32, 32, 32),
            "horizontal_flip": False,  # a mirrored 3 is no digit
            # Adam moves a class's gains by about one learning rate a step: 1500 steps need a larger one still.
            "generator_lr": 5e-4,
            "discriminator_lr": 2e-3,
            "steps": 1500,
            "sample_every": 250,
        },
    ),
    "facades-cpu": Variant("for facades-synthetic", "tiny-imagenet-cpu", {"steps": 3000}),
}
SIZES = {"imagenet128": (128, 1000), "tiny-imagenet": (64, 200), "cifar10": (32, 10)}
DEMOS = {"demo-digits": "an-gan-digits", "demo-facades": "an-gan-facades-cpu"}


def _plain(size: int, num_classes: int) -> ClassConditionalConfig:
    """SN-GAN*, the plain system, with the networks of one picture size."""
    table = ARCHITECTURES[size]
    config = ClassConditionalConfig(
        generator=GeneratorConfig(image_size=size, num_classes=num_classes, channels=table.generator),
        discriminator=DiscriminatorConfig(
            image_size=size,
            num_classes=num_classes,
            channels=table.discriminator,
            downsamples=table.downsamples,
            concat_after=table.concat_after,
        ),
    )
    places = zip(NETWORKS, (table.generator_block, table.discriminator_block), strict=True)
    return derive(config, {f"{network}.long_range.block": block for network, block in places})


def _presets() -> dict[str, ClassConditionalConfig]:
    found: dict[str, ClassConditionalConfig] = {}
    for data, settings in DATA.items():
        first = _plain(*SIZES[data]) if settings.parent is None else found[f"sn-gan-star-{settings.parent}"]
        for system, variant in SYSTEMS.items():
            parent = first if variant.parent is None else found[f"{variant.parent}-{data}"]
            found[f"{system}-{data}"] = derive(parent, settings.changes if variant.parent is None else variant.changes)
        if data == "imagenet128":
            for system in SYSTEMS:
                if system.startswith("an-gan"):
                    found[f"{system}-{data}"] = derive(found[f"{system}-{data}"], {"steps": 880_000})
    return found | {demo: found[name] for demo, name in DEMOS.items()}


PRESETS = _presets()


def get_preset(name: str) -> ClassConditionalConfig:
    """The configuration of that name.

    Raises:
        UserError: there is none; the message has the nearest name.
    """
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}{nearest(name, PRESETS)} (`attnorm presets` lists them)")
    return PRESETS[name]
