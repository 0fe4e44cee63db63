"""Write a generator or an inpainting model to a file that runs without attnorm: ONNX, or PyTorch's exported program.

The batch is left open, and of an inpainting model the size of the pictures too. The file is run and compared with the
network before it is kept. Its metadata has the class names, sizes and licence that a program needs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from attnorm.cli.arguments import file_path
from attnorm.cli.model_argument import add_model
from attnorm.errors import UserError
from attnorm.exporting.files import FORMATS, export
from attnorm.exporting.program import CHECKED_BATCHES, program_of
from attnorm.files import check_output
from attnorm.models.saved import name_of


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    suffixes = " or ".join(f"FILE{kind.suffix}" for kind in FORMATS.values())
    named = f"{suffixes} (default with --format: the model's name, in this folder)"
    parser.add_argument("-o", "--out", type=file_path, metavar="FILE", help=named)
    parser.add_argument("--format", choices=tuple(FORMATS), help="default: as the file's name ends")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")


def run(args: argparse.Namespace) -> None:
    if args.out is None and args.format is None:
        raise UserError("there is no saying what to write: give -o FILE, or --format for a file of the model's name")
    kind = args.format or _kind_of(args.out)
    out = args.out or Path(name_of(args.model) + FORMATS[kind].suffix)
    check_output(out, args.force)
    program = program_of(args.model)
    difference = export(program, out, kind)
    checked = f"batches of {' and '.join(map(str, CHECKED_BATCHES))}"
    if "picture" in program.inputs:
        checked += " pictures of " + " and ".join(f"{width}×{height}" for height, width in program.shapes)
    print(f"{out}: {kind}, {out.stat().st_size / 1e6:.1f} MB")
    print(f"largest difference from the network: {difference:.1e} of [-1, 1], in {checked}")
    for name, about in program.about.items():
        print(f"  {name}: {about}")


def _kind_of(path: Path) -> str:
    for kind, chosen in FORMATS.items():
        if path.suffix == chosen.suffix:
            return kind
    endings = " or ".join(chosen.suffix for chosen in FORMATS.values())
    raise UserError(f"{path}: the name must end in {endings}, or --format say what to write")
