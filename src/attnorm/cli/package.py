"""Make a folder of a run's model that others can use: weights, sample images, and a model card written from the run's
own records. Its form is that of the Hugging Face Hub.
"""

from __future__ import annotations

import argparse
import shlex

from attnorm.cli.arguments import file_path, stated
from attnorm.hub import PackageOptions, package

HELP = {
    "name": "by which others will load the model (default: the folder's or repository's)",
    "licence": "of the weights, as the Hub spells it (default mit)",
    "data_id": "of your own training images: their name on the Hub, or a short name",
    "data_about": "what they are, in a sentence",
    "data_licence": "their license",
    "data_url": "where they come from",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=file_path, help="a run, or one of its saved models, such as RUN/best-phase-1")
    parser.add_argument("out", type=file_path, metavar="FOLDER", help="the new folder; must not exist yet")
    add_options(parser)


def run(args: argparse.Namespace) -> None:
    facts = package(args.run, args.out, given_options(args))
    size = sum(path.stat().st_size for path in args.out.iterdir()) / 1e6
    print(f"{args.out}: the model of step {facts.step}, {size:.1f} MB; read its README.md before you share it")
    if not facts.evaluations:
        command = shlex.join(["attnorm", "evaluate", str(facts.folder)])
        print(f"these weights were not measured: run {command}, remove {args.out}, then package again")


def add_options(parser: argparse.ArgumentParser) -> None:
    for name, text in HELP.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=stated, help=text)


def given_options(args: argparse.Namespace) -> PackageOptions:
    return PackageOptions(**{name: getattr(args, name) for name in HELP if getattr(args, name) is not None})
