"""The choice of split and columns of a source."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attnorm.errors import UserError, counted

_WORDS = {"train": "train training", "val": "val valid validation dev", "test": "test testing eval evaluation"}
SPLITS = {word: split for split, words in _WORDS.items() for word in words.split()}  # as Hugging Face names them
_LABELS = ("label", "labels", "fine_label", "class")
_SHOWN = 5


@dataclass(frozen=True)
class Choice:
    """What to read of a source.

    Args:
        image_column: The column of parquet files, or the array of a .npz file, with the images.
        label_column: The column with the classes, also in metadata.csv and CIFAR-100.
        split: train, val or test, or several as train+val (default: train).
    """

    image_column: str | None = None
    label_column: str | None = None
    split: str | None = None

    def pick_split(self, where: Any, splits: Sequence[str], what: str = "file") -> tuple[list[int], list[str]]:
        """Which items to read, given the split of each or "", and a notice of the rest; UserError if it is unclear."""
        counts = Counter(splits)
        known = sorted(filter(None, counts))
        if not known and self.split is None:
            return list(range(len(splits))), []
        default = known[0] if len(known) == 1 else "train"
        wanted = {SPLITS.get(name, name) for name in (self.split or default).lower().split("+")}
        if missing := sorted(wanted - set(known)):
            remedy = f"give --split, one of {listed(known)}" if known else "leave --split out"
            raise UserError(f"{where} has no split {missing[0]!r}: {remedy}")
        others = sorted((name, count) for name, count in counts.items() if name not in wanted)
        rest = ", ".join(f"{counted(count, what)} of {name or 'none'}" for name, count in others)
        notice = f"reading the split {'+'.join(sorted(wanted))}; not read (--split): {rest}"
        return [index for index, split in enumerate(splits) if split in wanted], [notice] if rest else []

    def pick_image(self, where: Any, columns: Sequence[str]) -> str:
        """The column of images among those that could be it; UserError if it is not there or not clear."""
        asked = self.image_column
        if asked in columns or (asked is None and len(columns) == 1):
            return asked or columns[0]
        found = f"no image column {asked!r}" if asked else f"{len(columns)} image columns"
        raise UserError(f"{where} has {found}: choose --image-column from {listed(columns)}")

    def pick_label(
        self, where: Any, integers: Sequence[str], strings: Sequence[str], required: bool = True
    ) -> tuple[str | None, list[str]]:
        """The column of classes among integers and strings, and a notice of others; UserError if it is unclear."""
        usable = [*integers, *strings]
        likely = [name for kind in (integers, strings) for name in _LABELS if name in kind]
        if self.label_column in usable:
            return self.label_column, []
        if self.label_column is None and (likely or len(integers) == 1):
            chosen = (likely or integers)[0]
            others = [name for name in usable if name != chosen and (name in likely or "label" in name)]
            instead = f" and not {listed(others)}" if others else ""
            return chosen, [f"classes are {chosen!r}{instead} (--label-column)"] if others or not likely else []
        if not required and self.label_column is None:
            return None, []
        found = f"no label column {self.label_column!r}" if self.label_column else "no obvious label column"
        raise UserError(f"{where} has {found}: choose --label-column from {listed(usable)}")


DEFAULT = Choice()


def split_in(name: str) -> str:
    """The split that a path, such as data/test-00000-of-00001.parquet, or a column names; "" for none."""
    words = (word for part in reversed(name.lower().split("/")) for word in re.split(r"[^a-z]+", part))
    return next((SPLITS[word] for word in words if word in SPLITS), "")


def listed(names: Sequence[str]) -> str:
    """The first names, quoted."""
    shown = ", ".join(map(repr, names[:_SHOWN])) or "none"
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
