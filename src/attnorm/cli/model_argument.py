"""The argument that names a trained model, the same for every command that takes one."""

from __future__ import annotations

import argparse

from attnorm.cli.arguments import path_or_name

MODEL = "model"  # where the parsed arguments have it


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        MODEL,
        type=path_or_name,
        help="a run, a saved model's folder, a name from `attnorm models`, or ORGANISATION/NAME on the hub",
    )
