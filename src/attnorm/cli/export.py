"""Write a generator or an inpainting model to a file that runs without attnorm: ONNX, or PyTorch's exported program.

The batch size is left open, and for inpainting models the image size too. The file is run and compared with the
network before it is kept. Its metadata has the class names, sizes and licence that a program needs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from attnorm.cli.arguments import file_path
from attnorm.cli.model_argument import add_model
from attnorm.export import export
from attnorm.files import check_output
from attnorm.models.pretrained import name_of


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "-o", "--out", type=file_path, metavar="FILE", help="FILE.onnx or FILE.pt2 (default: the model's name.onnx)"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")


def run(args: argparse.Namespace) -> None:
    out = args.out or Path(f"{name_of(args.model)}.onnx")
    check_output(out, args.force)
    difference = export(args.model, out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    print(f"largest difference from the network: {difference:.1e}, for images in [-1, 1]")
