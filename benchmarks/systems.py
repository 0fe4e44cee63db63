"""Class-conditional systems with equal channels, so that only their long-range layer differs."""

from __future__ import annotations

from typing import Any, Literal

from attnorm.config import derive
from attnorm.presets import get_preset
from attnorm.training.class_conditional import ClassConditionalConfig

Networks = Literal["cpu", "paper"]
BASELINE = "sn-gan-star"  # the same networks without a long-range layer
SYSTEMS = (BASELINE, "sa-gan", "an-gan")
NUM_CLASSES = 10

# "cpu" networks are narrow enough for a CPU; at 128 pixels, the preset's network with the channels below.
DATA = {
    "cpu": {32: "cifar10-cpu", 64: "tiny-imagenet-cpu", 128: "imagenet128"},
    "paper": {32: "cifar10", 64: "tiny-imagenet", 128: "imagenet128"},
}
NARROW = {
    "generator.channels": (128, 128, 128, 64, 64, 32),
    "discriminator.channels": (32, 64, 64, 128, 128),
}


def system_config(system: str, size: int, networks: Networks, **changes: Any) -> ClassConditionalConfig:
    """The preset of a system at an image size, with ten classes, the long-range layer in both networks, and changes."""
    config = get_preset(f"{system}-{DATA[networks][size]}")
    assert isinstance(config, ClassConditionalConfig)
    narrow = NARROW if networks == "cpu" and size == 128 else {}
    both = {"discriminator.long_range.kind": config.generator.long_range.kind, "generator.keep_batch_norm": False}
    return derive(config.for_classes([str(i) for i in range(NUM_CLASSES)]), {**both, **narrow, **changes})
