"""`attnorm export`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from attnorm.cli.arguments import Force, Model, OptionalOut
from attnorm.errors import UserError


def export(
    model: Model,
    /,
    *,
    out: OptionalOut = None,
    format: Literal["onnx", "torch-export"] | None = None,
    force: Force = False,
) -> None:
    """Export a generator or an inpainting model to a file that runs without attnorm.

    The batch size is left open, and for inpainting models the image size too. The file is run and compared with the
    network before it is kept. Its metadata has the class names, sizes and licence that a program needs.

    Args:
        out: FILE.onnx or FILE.pt2 (default with --format: the model's name, in this folder).
        format: ONNX, or PyTorch's exported program (default: by the suffix of the file).
    """
    from attnorm.export import SUFFIXES, export
    from attnorm.files import check_output
    from attnorm.models.pretrained import name_of

    if out is None and format is None:
        raise UserError("give --out FILE, or --format for a file with the model's name")
    path = out or Path(name_of(model) + SUFFIXES[format or "onnx"])
    check_output(path, force)
    exported = export(model, path, format)
    print(f"{path}: {exported.format}, {path.stat().st_size / 1e6:.1f} MB")
    print(f"largest difference from the network: {exported.difference:.1e} of [-1, 1]")
    for name, value in exported.metadata.items():
        print(f"  {name}: {value}")
