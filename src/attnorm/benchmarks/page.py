"""A folder of records as one Markdown page: the goals, then every benchmark with its tables and its chart."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attnorm.benchmarks import goals
from attnorm.errors import UserError

# Where the text of each benchmark's report is made.
TEXTS = {
    "layer": "attnorm.benchmarks.layer_report",
    "train": "attnorm.benchmarks.train",
    "data": "attnorm.benchmarks.data",
    "generate": "attnorm.benchmarks.generate",
    "inpaint": "attnorm.benchmarks.inpaint",
}


def as_page(records: Mapping[str, dict[str, Any]], folder: Path, beside: Path) -> str:
    """The page of records by their names, whose charts in `folder` it names as seen from the folder `beside`.

    Raises:
        UserError: a record is of a benchmark that there is not, or of another version.
    """
    parts = ["# Measured", goals.as_text(records)]
    for name, record in records.items():
        parts += [f"## {name}", _text(name, record)]
        chart = folder / f"{name}.png"
        if chart.exists():
            parts.append(f"![{name}]({Path(os.path.relpath(chart, beside)).as_posix()})")
    return "\n\n".join(parts)


def _text(name: str, record: dict[str, Any]) -> str:
    kind = record["benchmark"]
    if kind not in TEXTS:
        raise UserError(f"{name}.json is of a benchmark that this attnorm does not know, {kind!r}: measure again")
    try:
        text: str = importlib.import_module(TEXTS[kind]).as_text(record)
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{name}.json is incomplete, or of another version ({error!r}): measure again") from error
    return text
