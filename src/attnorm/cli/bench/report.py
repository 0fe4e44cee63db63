"""The goals and all tables of a folder of records, as one Markdown page. `make bench` fills such a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from attnorm.cli.arguments import file_path
from attnorm.errors import UserError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=file_path, help="where the .json files of the other benchmarks are")
    parser.add_argument(
        "-o",
        "--out",
        type=file_path,
        metavar="FILE",
        help="write the page to this .md file, which it replaces",
    )


def run(args: argparse.Namespace) -> None:
    from attnorm.benchmarks.page import as_page
    from attnorm.benchmarks.report import read_json
    from attnorm.files import output_file

    if args.out is not None and args.out.suffix != ".md":
        raise UserError(f"{args.out}: the name of the page must end in .md")
    records = {path.stem: read_json(path) for path in sorted(args.folder.glob("*.json"))}
    if not records:
        raise UserError(f"there is no record in {args.folder}: measure, with `attnorm bench layer --json FILE` for one")
    page = as_page(records, args.folder, args.out.parent if args.out is not None else Path.cwd())
    if args.out is None:
        print(page)
        return
    with output_file(args.out) as partial:
        partial.write_text(page + "\n", encoding="utf-8")
    print(args.out)
