"""Statistics of a set of images from one pass over it; those of real images are cached on disk."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attnorm.errors import UserError
from attnorm.files import written_aside
from attnorm.metrics.base import Batch, Statistics
from attnorm.metrics.distributed import anywhere, rank_and_count
from attnorm.metrics.features import SHORT_DIGEST, FeatureExtractor, Progress
from attnorm.metrics.images import ImageSet

REAL, GENERATED = "real images", "generated images"
UPDATE_SIZE = 256  # images per update of the statistics: updating a covariance with a few costs more than it should
CACHE_VERSION = 2  # raise it when features or statistics of the same images change


def stream(
    statistics: Iterable[Statistics],
    extractor: FeatureExtractor,
    images: ImageSet,
    what: str,
    *,
    probabilities: bool = False,
    progress: Progress | None = None,
) -> None:
    """Updates the statistics with the features of all images; each image goes through the network once.

    In a group of processes each takes its own stretch of the images, and then all hold the statistics of the whole.
    Stretches end where batches end, so that an image's batch, and with it the last bit of its features, does not
    depend on the number of processes. Where there are fewer batches than processes each takes all images.

    Raises:
        UserError: features that are not finite.
    """
    statistics, size = list(statistics), extractor.batch_size
    rank, processes = rank_and_count()
    batches = -(-images.count // size)
    is_shared = 1 < processes <= batches
    if not is_shared:
        rank, processes = 0, 1
    start, stop = (min(batches * (rank + i) // processes * size, images.count) for i in (0, 1))
    step = size * max(1, UPDATE_SIZE // size)
    for first in range(start, stop, step):
        last = min(first + step, stop)
        extracted = []
        for done, batch in enumerate(images.read(first, last).split(size), 1):
            extracted.append(extractor.extract(batch, probabilities=probabilities))
            if progress is not None:
                progress(what, min(first + done * size, last) - start, stop - start)
        features = torch.cat([one.features for one in extracted])
        if not bool(features.isfinite().all()):
            raise UserError(f"{extractor.name} gave features of {what} that are not finite: choose another extractor")
        classes = torch.cat([one.probabilities for one in extracted]) if probabilities else None  # type: ignore[misc]
        for each in statistics:
            each.update(Batch(features, classes, torch.arange(first, last), images.count))
    if is_shared:
        for each in statistics:
            each.synchronize()


def real_statistics(
    kinds: Iterable[type[Statistics]],
    extractor: FeatureExtractor,
    real: ImageSet,
    cache: Path | None,
    progress: Progress | None = None,
) -> dict[type[Statistics], Any]:
    """Statistics of each kind of real images, from the folder `cache` where they are there, else from the images.

    Raises:
        UserError: see `stream`. A folder that cannot be written is reported on stderr: nothing is lost by it.
    """
    kinds = sorted(kinds, key=lambda kind: kind.__name__)
    found = {kind: None if cache is None else _read(cache, cache_key(kind, extractor, real), kind) for kind in kinds}
    # All processes must do the same, also if only some of them can read the folder.
    missing = [kind for kind in kinds if anywhere(found[kind] is None)]
    if missing:
        made = {kind: kind() for kind in missing}
        stream(made.values(), extractor, real, REAL, progress=progress)
        for kind, statistics in made.items():
            found[kind] = statistics
            if cache is not None and rank_and_count()[0] == 0:
                _write(cache, cache_key(kind, extractor, real), statistics)
    return dict(found)


def cache_key(kind: type[Statistics], extractor: FeatureExtractor, real: ImageSet) -> str:
    """Everything that the statistics of real images depend on, as text."""
    parts = {
        "version": CACHE_VERSION,
        "statistics": kind.__name__,
        "extractor": extractor.name,
        "weights": extractor.fingerprint,
        "resizer": extractor.resizer,
        "images": real.identity,
    }
    return json.dumps(parts, sort_keys=True)


def _path(cache: Path, key: str, kind: type[Statistics]) -> Path:
    return cache / f"{kind.__name__}-{hashlib.sha256(key.encode()).hexdigest()[:SHORT_DIGEST]}.npz"


def _read(cache: Path, key: str, kind: type[Statistics]) -> Statistics | None:
    """The statistics cached under `key`; None if there are none, or none that can be read."""
    path = _path(cache, key, kind)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        return kind.from_arrays(arrays) if str(arrays.pop("key")) == key else None
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged archive can fail in any way
        print(f"{path} is damaged ({type(error).__name__}) and is computed again", file=sys.stderr)
        return None


def _write(cache: Path, key: str, statistics: Statistics) -> None:
    path = _path(cache, key, type(statistics))
    try:
        with written_aside(path) as partial, partial.open("wb") as file:
            np.savez(file, **{"key": np.array(key)} | statistics.arrays())  # type: ignore[arg-type]
    except OSError as error:
        print(
            f"cannot cache reference statistics at {path} ({error.strerror}): free some space, or set ATTNORM_CACHE to"
            " another folder; they will be computed again next time",
            file=sys.stderr,
        )
