"""Where the record of an evaluation goes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from attnorm.errors import UserError
from attnorm.files import check_output


def record_path(args: argparse.Namespace, run: Path | None, step: int | None, parts: Sequence[str]) -> Path:
    """`--out`, or a name made of the step and the parts in the run's folder metrics/.

    Raises:
        UserError: something is there and `--force` is not given; the name does not end in .json; or there is neither a
            run nor a name.
    """
    out: Path | None = args.out
    if out is None:
        if run is None:
            raise UserError(f"{args.model} is no run to keep the record in: give --out FILE.json")
        first = "model" if step is None else f"step-{step:07d}"
        out = run / "metrics" / ("-".join(map(_file_name, [first, *parts])) + ".json")
    if out.suffix != ".json":
        raise UserError(f"{out}: the name of the record must end in .json")
    for path in (out, out.with_suffix(".png")):
        check_output(path, args.force)
    return out


def _file_name(part: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in part)
