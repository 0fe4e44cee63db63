"""`attnorm export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from attnorm.cli.arguments import Force, Model
from attnorm.errors import UserError


def export(
    model: Model,
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    format: Literal["onnx", "torch-export"] | None = None,
    force: Force = False,
) -> None:
    """Export a generator or an inpainting model to a file that runs without attnorm.

    The batch size is left open, and of an inpainting model the size of the images too. The file is run and compared
    with the network before it is kept. Its metadata has the class names, sizes and licence that a program needs.

    Args:
        out: FILE.onnx or FILE.pt2 (default with --format: the model's name, in this folder).
        format: ONNX, or PyTorch's exported program (default: as the file's name ends).
    """
    from attnorm.exporting.files import FORMATS, export
    from attnorm.exporting.program import CHECKED_BATCHES, program_of
    from attnorm.files import check_output
    from attnorm.models.saved import name_of

    if out is None and format is None:
        raise UserError("the format is not given: give --out FILE.onnx or FILE.pt2, or --format")
    kinds = {chosen.suffix: kind for kind, chosen in FORMATS.items()}
    if format is None and out is not None and out.suffix not in kinds:
        raise UserError(f"{out}: the name must end in {' or '.join(kinds)}, or give --format")
    kind = format or kinds[out.suffix if out else ""]
    path = out or Path(name_of(model) + FORMATS[kind].suffix)
    check_output(path, force)
    program = program_of(model)
    difference = export(program, path, kind)
    checked = f"batches of {' and '.join(map(str, CHECKED_BATCHES))}"
    if "picture" in program.inputs:
        checked += " images of " + " and ".join(f"{width}×{height}" for height, width in program.shapes)
    print(f"{path}: {kind}, {path.stat().st_size / 1e6:.1f} MB")
    print(f"largest difference from the network: {difference:.1e} of [-1, 1], in {checked}")
    for name, about in program.about.items():
        print(f"  {name}: {about}")
