"""What collectors hold of the real pictures, kept on disk under a key of everything that it depends on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from attnorm.files import written_aside
from attnorm.metrics.collecting import REAL, collect
from attnorm.metrics.features import FeatureExtractor
from attnorm.metrics.inception_file import SHORT_DIGEST, Progress
from attnorm.metrics.pictures import Pictures
from attnorm.metrics.processes import anywhere, rank_and_count

CACHE_VERSION = 1  # to be raised when features or statistics of the same pictures change


def collect_reference(
    kinds: Iterable[type[Any]],
    extractor: FeatureExtractor,
    real: Pictures,
    cache: Path | None,
    progress: Progress | None = None,
) -> dict[type[Any], Any]:
    """A filled collector of each kind, from the folder `cache` where it is there, else from the pictures.

    Raises:
        UserError: see `collect`. A folder that cannot be written is a line on stderr, since nothing is lost by it.
    """
    kinds = sorted(kinds, key=lambda kind: kind.__name__)
    found: dict[type[Any], Any] = dict.fromkeys(kinds)
    keys = {kind: reference_key(kind, extractor, real) for kind in kinds}
    if cache is not None:
        found = {kind: _read(cache, keys[kind], kind) for kind in kinds}
    # All processes must take the same way, also if only some of them can read the folder.
    missing = [kind for kind in kinds if anywhere(found[kind] is None)]
    if missing:
        found |= {kind: kind() for kind in missing}
        collect([found[kind] for kind in missing], extractor, real, REAL, progress=progress)
    if cache is not None and rank_and_count()[0] == 0:
        for kind in missing:
            _write(cache, keys[kind], found[kind])
    return found


def reference_key(collector: type[Any], extractor: FeatureExtractor, real: Pictures) -> str:
    """A text of everything that a collector's content depends on."""
    parts = {
        "version": CACHE_VERSION,
        "collector": collector.__name__,
        "extractor": extractor.name,
        "weights": extractor.fingerprint,
        "resizer": extractor.resizer,
        "pictures": real.identity,
    }
    return json.dumps(parts, sort_keys=True)


def _path(cache: Path, key: str, kind: type[Any]) -> Path:
    return cache / f"{kind.__name__}-{hashlib.sha256(key.encode()).hexdigest()[:SHORT_DIGEST]}.npz"


def _read(cache: Path, key: str, kind: type[Any]) -> Any:
    """The collector kept under `key`; None if there is none, or none that can be read."""
    try:
        with np.load(_path(cache, key, kind), allow_pickle=False) as file:
            arrays = dict(file)
        return kind.from_arrays(arrays) if str(arrays.pop("key")) == key else None
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged archive can fail in any way, and each means that it is made again
        print(f"{_path(cache, key, kind)} is damaged ({type(error).__name__}) and is made again", file=sys.stderr)
        return None


def _write(cache: Path, key: str, collector: Any) -> None:
    """Writes aside and renames, so that a reader never meets half a file."""
    path = _path(cache, key, type(collector))
    try:
        with written_aside(path) as partial, partial.open("wb") as file:
            np.savez(file, key=np.array(key), **collector.arrays())
    except OSError as error:
        print(
            f"cannot keep the reference statistics at {path} ({error.strerror}): make room, or set ATTNORM_CACHE to"
            " another folder; next time they are computed again",
            file=sys.stderr,
        )
