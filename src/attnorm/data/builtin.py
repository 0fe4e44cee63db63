"""The built-in picture sets, which need no download: real handwritten digits and synthetic façades."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from attnorm.data.dataset import ImageDataset
from attnorm.data.progress import track
from attnorm.errors import UserError

Labelled = tuple[np.ndarray, int]  # a picture (S, S, 3) uint8 with its class

_DIGITS = 1797  # what scikit-learn ships
_DIGIT_INK = 16  # the darkest value of its pixels
_FACADES_PER_TASK = 16


@dataclass(frozen=True)
class Builtin:
    """A built-in set: `stream(count, size, seed, workers)` yields its pictures in a fixed order.

    labels: maps a count to the classes of that many pictures, (count,) int64, without drawing them.
    """

    default_count: int
    class_names: Callable[[], tuple[str, ...]]
    labels: Callable[[int], np.ndarray]
    stream: Callable[[int, int, int, int], Generator[Labelled]]


def _digit_names() -> tuple[str, ...]:
    return tuple("0123456789")


def _digit_labels(count: int) -> np.ndarray:
    from sklearn.datasets import load_digits

    return load_digits().target[:count].astype(np.int64)


def _digits(count: int, size: int, seed: int, workers: int) -> Generator[Labelled]:
    """The first `count` real digits, so `seed` plays no part; too quick to share among `workers`."""
    from sklearn.datasets import load_digits

    if count > _DIGITS:
        raise UserError(f"digits has {_DIGITS} pictures, not {count}: ask for fewer")
    digits = load_digits()
    for values, label in zip(digits.images[:count], digits.target[:count], strict=True):
        grey = Image.fromarray(np.rint(values * (255 / _DIGIT_INK)).astype(np.uint8))
        enlarged = np.asarray(grey.resize((size, size), Image.Resampling.BICUBIC))
        yield np.repeat(enlarged[:, :, None], 3, axis=2), int(label)


def _facade_names() -> tuple[str, ...]:
    from attnorm.data.facades import STYLES

    return tuple(STYLES)


def _facade_labels(count: int) -> np.ndarray:
    from attnorm.data.facades import STYLES

    return np.arange(count, dtype=np.int64) % len(STYLES)  # the styles take turns


def _facade(index: int, size: int, seed: int) -> Labelled:
    from attnorm.data.facades import render_facade

    facade = render_facade(seed, index, size)
    return facade.image, facade.style


def _facades(count: int, size: int, seed: int, workers: int) -> Generator[Labelled]:
    from attnorm.data.facades.render import MAX_SIZE, MIN_SIZE

    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UserError(f"facades-synthetic is drawn at {MIN_SIZE} to {MAX_SIZE} pixels a side, not {size}")
    render = partial(_facade, size=size, seed=seed)
    if workers == 1:
        yield from map(render, range(count))
        return
    # Not forked: the parent may run threads (torch, a progress bar) whose locks a fork would freeze.
    context = multiprocessing.get_context("spawn")
    # An interrupt from the keyboard reaches every process: only the parent is to act on it.
    ignore = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(workers, context, initializer=signal.signal, initargs=ignore) as pool:
        yield from pool.map(render, range(count), chunksize=_FACADES_PER_TASK)


BUILTIN = {
    "digits": Builtin(_DIGITS, _digit_names, _digit_labels, _digits),
    "facades-synthetic": Builtin(6000, _facade_names, _facade_labels, _facades),
}


def stream_builtin(
    name: str, size: int, *, count: int | None = None, seed: int = 0, workers: int = 1
) -> tuple[int, Generator[Labelled]]:
    """How many pictures the set will have, and the pictures one by one; arguments as in load_builtin."""
    if name not in BUILTIN:
        raise UserError(f"no built-in set {name!r}: there are {', '.join(BUILTIN)}")
    builtin = BUILTIN[name]
    number = builtin.default_count if count is None else count
    for what, value, least in (
        ("count", number, 1),
        ("size", size, 1),
        ("workers", workers, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise UserError(f"{name}: the {what} must be at least {least}, not {value}")
    return number, builtin.stream(number, size, seed, workers)


def load_builtin(
    name: str, size: int, *, count: int | None = None, seed: int = 0, workers: int = 1, progress: bool = True
) -> ImageDataset:
    """A built-in set in memory, pictures (count, size, size, 3) uint8; the same for the same arguments.

    workers: processes that render façades; more than one needs a main module that can be imported safely.

    Raises UserError for an unknown name or a count, size, seed or number of workers out of range.
    """
    number, stream = stream_builtin(name, size, count=count, seed=seed, workers=workers)
    images = np.empty((number, size, size, 3), dtype=np.uint8)
    labels = np.empty(number, dtype=np.int64)
    for row, (image, label) in enumerate(track(stream, f"rendering {name}", number, show=progress)):
        images[row], labels[row] = image, label
    return ImageDataset(images, labels, BUILTIN[name].class_names())
