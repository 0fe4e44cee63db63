"""Send a run's model to the Hugging Face hub: the folder that `attnorm package` makes, under ORGANISATION/NAME.

You have to be logged in (`hf auth login`) or to have set HF_TOKEN.
"""

from __future__ import annotations

import argparse
import sys

from attnorm.cli.arguments import path_or_name
from attnorm.cli.publishing_options import add_options, given_options
from attnorm.publishing.hub import push
from attnorm.publishing.package import Wishes


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=path_or_name, metavar="RUN", help="a run, a folder from `attnorm package`, or a shipped model"
    )
    parser.add_argument("repository", metavar="REPO", help="ORGANISATION/NAME; made if it does not exist yet")
    parser.add_argument("--private", action="store_true", help="only for the owner's eyes")
    parser.add_argument("--dry-run", action="store_true", help="list the files that would go, but send nothing")
    add_options(parser)


def run(args: argparse.Namespace) -> None:
    pushed = push(
        args.source, args.repository, Wishes(**given_options(args)), private=args.private, dry_run=args.dry_run
    )
    for sentence in pushed.complaints:
        print(sentence, file=sys.stderr)
    for name, size in pushed.files.items():
        print(f"{size / 1e6:8.3f} MB  {name}")
    print(pushed.url or f"nothing was sent: without --dry-run this goes to {args.repository}")
