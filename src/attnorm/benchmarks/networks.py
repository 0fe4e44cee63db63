"""The systems that train and draw in the benchmarks: equal channels, so that only their long-range layer differs."""

from __future__ import annotations

from typing import Any, Literal

from attnorm.config import derive
from attnorm.presets import SYSTEMS, get_preset
from attnorm.training.class_conditional import ClassConditionalConfig

Networks = Literal["cpu", "paper"]
BASE = "sn-gan-star"  # the same networks without a long-range layer
SIZES = (32, 64, 128)

# "cpu" is narrow enough for a processor: the presets' networks, and at 128 pixels the same channels in one block more.
DATA = {
    "cpu": {32: "cifar10-cpu", 64: "tiny-imagenet-cpu", 128: "imagenet128"},
    "paper": {32: "cifar10", 64: "tiny-imagenet", 128: "imagenet128"},
}
NARROW = {
    "generator.channels": (128, 128, 128, 64, 64, 32),
    "discriminator.channels": (32, 64, 64, 128, 128),
}
CLASSES = 10


def system_config(system: str, size: int, networks: Networks, **changes: Any) -> ClassConditionalConfig:
    """The preset of a system at a picture size, for pictures of ten classes, with the long-range layer at the paper's
    places, and with some fields changed.
    """
    assert system in SYSTEMS
    config = get_preset(f"{system}-{DATA[networks][size]}")
    assert isinstance(config, ClassConditionalConfig)
    narrow = NARROW if networks == "cpu" and size == 128 else {}
    places = {"discriminator.long_range.kind": config.generator.long_range.kind, "generator.keep_batch_norm": False}
    return derive(config.for_classes([str(i) for i in range(CLASSES)]), {**places, **narrow, **changes})
