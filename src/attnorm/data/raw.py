"""A raw set: a stream of undecoded images whose classes are known before any is read."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attnorm.data.choice import listed
from attnorm.data.listing import Listing, Skipped
from attnorm.errors import UserError

_MOST_CLASSES = 1 << 20  # an identifier or a date in place of a class number would ask for billions of names

Content = bytes | Path | np.ndarray  # an encoded image, its file, or its pixels (h, w[, channels]) uint8
RawImage = tuple[str, Content]  # with a name to report it by


@dataclass(frozen=True)
class RawSource:
    """A raw set.

    kind: what it is, in words.
    class_names: one name per class.
    labels: (N,) int64, the class of each image.
    read: streams the images in the order of `labels`.
    notices: what a person should know, such as which classes are left out.
    skipped: the files that are not read.
    listing: what has to stay while images are read: an unpacked archive.
    """

    kind: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    read: Callable[[], Iterator[RawImage]]
    notices: Sequence[str] = ()
    skipped: Sequence[Skipped] = ()
    listing: Listing | None = None


def named(name: str, images: np.ndarray) -> Iterator[RawImage]:
    """The images of an array (N, h, w[, channels]) uint8."""
    return ((f"{name} {row}", pixels) for row, pixels in enumerate(images))


def number_classes(
    where: Any, values: Sequence[Any], names: Sequence[str] | None = None
) -> tuple[tuple[str, ...], np.ndarray, list[str]]:
    """Class names, labels (N,) int64, and a notice of classes without an image, which are left out; or a UserError.

    Args:
        values: the class of each image: numbers from 0, or names, which are numbered in sorted order.
        names: of the numbers, by default themselves.
    """
    if not values or None in values:
        problem = "rows without a class" if values else "no rows"
        raise UserError(f"{where} has {problem}: give another file, or choose another --label-column")
    found, labels = np.unique(np.asarray(values), return_inverse=True)
    if found.dtype.kind not in "iu":
        return tuple(map(str, found)), labels.astype(np.int64), []
    low, high, most = int(found[0]), int(found[-1]), len(names) if names else _MOST_CLASSES
    if low < 0 or high >= most:
        remedy = "number them from 0, or choose another --label-column"
        raise UserError(f"{where} has labels from {low} to {high} for {most} classes: {remedy}")
    every = names or list(map(str, range(high + 1)))
    if twice := [name for name, count in Counter(every).items() if count > 1]:
        raise UserError(f"{where} has several classes with one name: {listed(twice)}: name them differently")
    empty = [every[number] for number in sorted(set(range(len(every))) - set(found.tolist()))]
    notice = f"{len(empty)} of {len(every)} classes have no image and are left out: {listed(empty)}"
    return tuple(every[number] for number in found), labels.astype(np.int64), [notice] if empty else []
