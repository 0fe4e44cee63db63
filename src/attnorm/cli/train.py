"""Train a preset on a folder of pictures, parquet files, a prepared set or a built-in set.

Every field of the preset can be overridden: `--steps 500`, `--generator.channels 64 64 64 64`; `attnorm presets NAME`
shows them all. Ctrl-C saves a checkpoint and says how to go on.
"""

from __future__ import annotations

import argparse

from attnorm.cli.arguments import file_path, path_or_name
from attnorm.config import derive, parse_overrides
from attnorm.errors import UserError
from attnorm.presets import PRESETS, get_preset
from attnorm.training.loop import begin

TAKES_OVERRIDES = True
_OWN = ("--data", "--out")  # what is not a field of the preset


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("preset", help="a name from `attnorm presets`")
    parser.add_argument(
        "--data",
        required=True,
        type=path_or_name,
        help="a folder of pictures, a folder per class, parquet file(s), a prepared or a built-in set",
    )
    parser.add_argument("--out", required=True, type=file_path, help="the run's folder; must be new or empty")


def arranged(arguments: list[str]) -> list[str]:
    """The arguments with the preset first, where argparse cannot take a field's value for it.

    Raises:
        UserError: fields come first, and none of what follows is the name of a preset.
    """
    if not arguments or not arguments[0].startswith("-"):
        return arguments
    for index, argument in enumerate(arguments):
        if argument in PRESETS and arguments[index - 1] not in _OWN:
            return [argument, *arguments[:index], *arguments[index + 1 :]]
    if arguments[0].partition("=")[0] not in (*_OWN, "-h", "--help"):
        raise UserError("name a preset before its fields: attnorm train PRESET --data DATA --out RUN --FIELD VALUE …")
    return arguments


def run(args: argparse.Namespace) -> int:
    preset = get_preset(args.preset)
    changes = parse_overrides(args.overrides, preset)
    config = derive(preset, {**changes, "data": args.data}, "command line")
    return begin(config, args.out, fixed=list(changes))
