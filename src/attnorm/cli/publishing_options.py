"""What `attnorm package` and `attnorm push` ask about a run that its own files do not say."""

from __future__ import annotations

import argparse
from typing import Any

from attnorm.cli.arguments import file_path, path_or_name, stated

OPTIONS = ("weights", "dtype", "licence", "limits", "results", "pictures")
OF_DATA = ("data_id", "data_about", "data_licence", "data_url")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", choices=("best", "last"), help="default: the best, if the run measured while it trained"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="of the stored weights (default float32)"
    )
    parser.add_argument(
        "--licence", type=stated, metavar="ID", help="of the weights, as the hub names it (default mit)"
    )
    parser.add_argument(
        "--limits", nargs="+", metavar="SENTENCE", help="what a user has to know, besides what the run itself says"
    )
    parser.add_argument(
        "--results", nargs="+", type=file_path, metavar="FILE.json", help="records of attnorm evaluate of these weights"
    )
    parser.add_argument(
        "--pictures",
        type=path_or_name,
        metavar="DATA",
        help="what an inpainting model's samples complete (drawn fronts)",
    )
    data = parser.add_argument_group("the pictures that the run was trained on, unless they are a built-in set")
    data.add_argument("--data-id", metavar="ID", help="their name on the hub, or a short name")
    data.add_argument("--data-about", metavar="SENTENCE", help="what they are")
    data.add_argument("--data-licence", metavar="TEXT", help="their licence")
    data.add_argument("--data-url", metavar="URL", help="where they come from")


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those that were given, by name."""
    return {name: getattr(args, name) for name in (*OPTIONS, *OF_DATA) if getattr(args, name) is not None}
