"""List the named configurations, or print one whole as YAML."""

from __future__ import annotations

import argparse

from attnorm.config import to_yaml
from attnorm.presets import PRESETS, get_preset


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="print this preset whole")


def run(args: argparse.Namespace) -> None:
    if args.name:
        print(to_yaml(get_preset(args.name)), end="")
        return
    width = max(map(len, PRESETS))
    for name, config in PRESETS.items():
        layer = config.generator.long_range.kind.replace("_", " ")
        print(
            f"{name:<{width}}  {config.image_size:>3} px  batch {config.batch_size:<3}  {config.steps:>7} steps  "
            f"long range: {layer}"
        )
