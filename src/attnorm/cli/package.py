"""Make a folder of a run's model that others can use: weights, sample pictures, and a card written from the run's own
records. Its form is that of the Hugging Face hub.
"""

from __future__ import annotations

import argparse
import shlex
import sys

from attnorm.cli.arguments import file_path, stated
from attnorm.cli.publishing_options import add_options, given_options
from attnorm.publishing.package import Wishes, package


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=file_path, help="a run, or one of its saved models, such as RUN/best-phase-1")
    parser.add_argument("out", type=file_path, metavar="FOLDER", help="the new folder; must not exist yet")
    parser.add_argument("--name", type=stated, help="by which others will load the model (default: the folder's)")
    add_options(parser)


def run(args: argparse.Namespace) -> None:
    card = package(args.run, args.out, args.name or args.out.name, Wishes(**given_options(args)))
    for sentence in card.facts.complaints:
        print(sentence, file=sys.stderr)
    size = sum(path.stat().st_size for path in args.out.iterdir()) / 1e6
    print(f"{args.out}: the model of step {card.facts.step}, {size:.1f} MB; read its README.md before you share it")
    if not card.measured:
        command = shlex.join(["attnorm", "evaluate", str(card.facts.folder)])
        print(f"nothing has measured these weights: run {command}, remove {args.out}, then package again")
