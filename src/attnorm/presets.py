"""Named configurations: the paper's systems and CPU-sized ones, each written as its difference from a parent.

A name is SYSTEM-DATA. The data stands for a size and a number of steps: any pictures of that size will do.
"""

from __future__ import annotations

from typing import Any

from attnorm.config import derive, nearest
from attnorm.errors import UserError
from attnorm.models.class_conditional import ARCHITECTURES, DiscriminatorConfig, GeneratorConfig
from attnorm.training.class_conditional import ClassConditionalConfig

# What makes a system, whatever its size; "blocks" stands for the place of the long-range layer in both networks.
SYSTEMS: dict[str, dict[str, Any]] = {
    # Spectral norm in the discriminator only, five updates of it per generator update, its own learning rates.
    "sn-gan": {
        "generator.spectral_norm": False,
        "generator_lr": 2e-4,
        "discriminator_lr": 2e-4,
        "betas": (0.0, 0.9),
        "discriminator_steps": 5,
    },
    "sn-gan-star": {},
    "sa-gan": {
        "generator.long_range.kind": "self_attention",
        "discriminator.long_range.kind": "self_attention",
    },
    "an-gan": {
        "generator.long_range.kind": "attentive_norm",
        "discriminator.long_range.kind": "attentive_norm",
    },
}


def _at_size(size: int, num_classes: int, **loop: Any) -> ClassConditionalConfig:
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
        **loop,
    )
    places = {
        "generator.long_range.block": table.generator_block,
        "discriminator.long_range.block": table.discriminator_block,
    }
    return derive(config, places)


# The plain system on each kind of data.
BASES: dict[str, ClassConditionalConfig] = {
    # Paper, §4: batch 256, learning rates 1e-4 and 4e-4, 1000 K steps for the baselines and 880 K for AN.
    "imagenet128": _at_size(
        128, 1000, batch_size=256, steps=1_000_000, log_every=100, sample_every=5000, checkpoint_every=5000
    ),
    # The public re-implementations' settings at these sizes: 100 K steps.
    "tiny-imagenet": _at_size(64, 200, batch_size=256, steps=100_000, sample_every=2000, checkpoint_every=2000),
    "cifar10": _at_size(32, 10, batch_size=64, steps=100_000, sample_every=2000, checkpoint_every=2000),
}
# At these widths the paper's temperature of 0.1 leaves the layout uniform: its features have a deviation near 5, these
# below 1. Ten times the temperature gives a layout that has regions (docs/results.md).
SHARPER = {"generator.long_range.temperature": 1.0, "discriminator.long_range.temperature": 1.0}
BASES["cifar10-cpu"] = derive(
    BASES["cifar10"],
    SHARPER
    | {
        "generator.channels": (64, 64, 64, 64),
        "discriminator.channels": (64, 64, 64, 64),
        "batch_size": 32,
        "steps": 10_000,
        "sample_every": 500,
        "checkpoint_every": 500,
    },
)
BASES["tiny-imagenet-cpu"] = derive(
    BASES["tiny-imagenet"],
    SHARPER
    | {
        "generator.channels": (128, 128, 64, 64, 32),
        "discriminator.channels": (32, 64, 64, 128, 128),
        "batch_size": 32,
        "steps": 10_000,
        "sample_every": 500,
        "checkpoint_every": 500,
    },
)
BASES["digits"] = derive(
    BASES["cifar10-cpu"],
    {
        "generator.channels": (32, 32, 32, 32),
        "discriminator.channels": (32, 32, 32, 32),
        "horizontal_flip": False,  # a mirrored 3 is no digit
        "steps": 1500,
        "sample_every": 250,
    },
)
BASES["facades-cpu"] = derive(BASES["tiny-imagenet-cpu"], {"steps": 3000})


def _presets() -> dict[str, ClassConditionalConfig]:
    found = {
        f"{system}-{data}": derive(base, changes) for data, base in BASES.items() for system, changes in SYSTEMS.items()
    }
    found["an-gan-imagenet128"] = derive(found["an-gan-imagenet128"], {"steps": 880_000})
    found["demo-digits"] = found["an-gan-digits"]
    found["demo-facades"] = found["an-gan-facades-cpu"]
    return found


PRESETS = _presets()


def get_preset(name: str) -> ClassConditionalConfig:
    """The configuration of that name.

    Raises:
        UserError: there is none; the message has the nearest name.
    """
    if name not in PRESETS:
        raise UserError(f"unknown preset {name!r}{nearest(name, PRESETS)} (`attnorm presets` lists them)")
    return PRESETS[name]
