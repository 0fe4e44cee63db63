"""Train a preset on a folder of pictures, parquet files, a prepared set or a built-in set.

Every field of the preset can be overridden: `--steps 500`, `--generator.channels 64 64 64 64`; `attnorm presets NAME`
shows them all. Ctrl-C saves a checkpoint and says how to go on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from attnorm.config import derive, override
from attnorm.presets import get_preset
from attnorm.training.loop import begin

TAKES_OVERRIDES = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("preset", help="a name from `attnorm presets`")
    parser.add_argument(
        "--data", required=True, help="a class-per-folder tree, parquet file(s), a prepared set, or digits"
    )
    parser.add_argument("--out", required=True, type=Path, help="the run's folder; must not hold a run yet")


def run(args: argparse.Namespace) -> int:
    config = override(get_preset(args.preset), args.overrides)
    return begin(derive(config, {"data": args.data}), args.out)
