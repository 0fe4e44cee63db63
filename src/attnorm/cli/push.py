"""Send a run's model to the Hugging Face Hub: the folder that `attnorm package` makes, under ORGANISATION/NAME.

You have to be logged in (`hf auth login`) or to have set HF_TOKEN.
"""

from __future__ import annotations

import argparse

from attnorm.cli.arguments import file_path
from attnorm.cli.package import add_options, given_options
from attnorm.hub import push


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=file_path, metavar="RUN", help="a run, or a folder from `attnorm package`")
    parser.add_argument("repository", metavar="REPO", help="ORGANISATION/NAME; made if it does not exist yet")
    parser.add_argument("--private", action="store_true", help="visible to its owner only")
    add_options(parser)


def run(args: argparse.Namespace) -> None:
    print(push(args.source, args.repository, given_options(args), private=args.private))
