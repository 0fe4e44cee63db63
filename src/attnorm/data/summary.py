"""What a picture set is, in numbers, without decoding a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attnorm.data.builtin import BUILTIN
from attnorm.data.dataset import open_set
from attnorm.data.loading import check_exists
from attnorm.data.manifest import PreparedInfo, is_prepared, read_set
from attnorm.data.shards import leftovers_in
from attnorm.data.sources import open_source


@dataclass(frozen=True)
class ShardSummary:
    """count: how many pictures are in it. skipped: how many preparing it left out."""

    count: int
    skipped: int


@dataclass(frozen=True)
class Summary:
    """A picture set in numbers.

    kind: "built-in set", "prepared folder", "folder of pictures" or "parquet".
    size: the side of the pictures in pixels, or None if they are not at one size yet.
    classes: how many pictures each class has, in class order.
    skipped: (name, reason) of each picture that preparing it left out.
    shards: those of a prepared folder, in order; none of one that is not sharded.
    leftovers: folders in it that hold unfinished work on shards that are finished.
    """

    path: str
    kind: str
    count: int
    size: int | None
    classes: dict[str, int]
    skipped: list[tuple[str, str]]
    shards: list[ShardSummary]
    leftovers: list[str]


def summarise(source: str, *, image_column: str | None = None, label_column: str | None = None) -> Summary:
    """Describes a built-in set, a prepared folder, or raw pictures; the column names are for parquet.

    Raises UserError if `source` is none of these or is damaged.
    """
    if source in BUILTIN:
        builtin = BUILTIN[source]
        labels = builtin.labels(builtin.default_count)
        return _summary(source, "built-in set", None, labels, builtin.class_names())
    path = Path(source)
    check_exists(path)
    if is_prepared(path):
        parts = read_set(path)
        dataset = open_set(path, parts)
        return _summary(source, "prepared folder", dataset.size, dataset.labels, dataset.class_names, parts)
    raw = open_source(path, image_column=image_column, label_column=label_column)
    return _summary(source, raw.kind, None, raw.labels, raw.class_names)


def _summary(
    path: str,
    kind: str,
    size: int | None,
    labels: np.ndarray,
    names: tuple[str, ...],
    parts: Sequence[PreparedInfo] = (),
) -> Summary:
    counts = np.bincount(labels, minlength=len(names)).tolist()
    skipped = [skip for part in parts for skip in part.skipped]
    shards = [ShardSummary(part.count, len(part.skipped)) for part in parts] if len(parts) > 1 else []
    leftovers = list(map(str, leftovers_in(Path(path)))) if shards else []
    return Summary(path, kind, len(labels), size, dict(zip(names, counts, strict=True)), skipped, shards, leftovers)
