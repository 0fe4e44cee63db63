"""Go on with an interrupted run from its newest whole checkpoint, with the configuration saved in it."""

from __future__ import annotations

import argparse

from attnorm.cli.arguments import file_path
from attnorm.training.loop import resume


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=file_path, help="the run's folder")
    parser.add_argument("--steps", type=int, help="train to this step instead of the one in the run's config.yaml")


def run(args: argparse.Namespace) -> int:
    return resume(args.run, args.steps)
