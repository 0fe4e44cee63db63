"""Turns a raw or built-in set into a prepared folder: decode in parallel, keep the order, write once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from attnorm.data.builtin import BUILTIN, load_builtin
from attnorm.data.dataset import INFO_FILE, LARGEST_SIZE, is_prepared, open_prepared, read_info
from attnorm.data.decode import DecodeError, pillow_quiet, read_square
from attnorm.data.progress import track
from attnorm.data.sources import RawImage, fingerprint, open_source
from attnorm.data.writer import PreparedWriter
from attnorm.errors import UserError, one_line
from attnorm.files import check_folder

_CHUNK = 8  # images per task: a task per small image would cost more than decoding it
_MOST_DEFAULT_WORKERS, _MOST_WORKERS = 16, 256
_NAMED_SKIPS = 10

Decoded = tuple[RawImage, "np.ndarray | str"]  # an image with its pixels, or with why it has none


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation did.

    count: images written.
    skipped: (name, reason) of each image that could not be decoded.
    reused: the same set was there already and was left untouched.
    """

    count: int
    skipped: list[tuple[str, str]] = field(repr=False)
    path: Path
    reused: bool = False

    def notices(self) -> list[str]:
        """How many images were skipped, and the first few by name; empty if none was."""
        if not self.skipped:
            return []
        lines = [f"skipped {len(self.skipped)} of {self.count + len(self.skipped)} images:"]
        lines += [one_line(f"  {name}: {reason}") for name, reason in self.skipped[:_NAMED_SKIPS]]
        if len(self.skipped) > _NAMED_SKIPS:
            lines.append(f"  and {len(self.skipped) - _NAMED_SKIPS} more, all in {self.path / INFO_FILE}")
        return lines


def prepare(
    source: str | Path,
    out: str | Path,
    size: int,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> PrepareReport:
    """Prepares a folder, parquet file(s) or a built-in set as (N, size, size, 3) uint8 in the new folder `out`.

    Images that cannot be decoded are skipped and reported. An `out` prepared from the same files in the same way is
    left untouched.

    Args:
        image_column, label_column: for parquet, where the schema does not tell.
        workers: threads, by default one per processor; the bytes written do not depend on it.

    Raises:
        UserError: `out` is something else, `source` is not usable, or a class has no usable image.
    """
    check_size(size)
    workers = default_workers() if workers is None else workers
    if not 1 <= workers <= _MOST_WORKERS:
        raise UserError(f"workers must be from 1 to {_MOST_WORKERS}, not {workers}")
    path, out = Path(source), Path(out)
    if str(source) in BUILTIN:
        return _prepare_builtin(str(source), out, size)
    if is_prepared(path):
        raise UserError(f"{path} is prepared already: train on it, or prepare what it was made from again")
    if out.resolve().is_relative_to(path.resolve()):
        raise UserError(f"{out} lies inside {path}: choose an OUT outside of the images")
    key = fingerprint(path, size, image_column, label_column)
    if report := _find_same(out, key):
        return report
    raw = open_source(path, image_column=image_column, label_column=label_column)
    with PreparedWriter(out, size, raw.class_names) as writer:
        if report := _find_same(out, key):  # of another process, while this one waited
            return report
        decoded = _decode_in_order(raw.read(), size, workers)
        with pillow_quiet(), closing(decoded):
            for image, result in track(decoded, f"preparing {path.name}", len(raw), show=progress):
                if isinstance(result, str):
                    writer.skip(image.name, result, image.label)
                else:
                    writer.append(result, image.label)
        writer.commit(source=str(path), fingerprint=key)
    return PrepareReport(writer.count, writer.skipped, out)


def check_size(size: int) -> None:
    """Raises UserError if images cannot have this side."""
    if not 1 <= size <= LARGEST_SIZE:
        raise UserError(f"the size of the images must be from 1 to {LARGEST_SIZE}, not {size}")


def default_workers() -> int:
    """The processors this process may use, at most 16."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_DEFAULT_WORKERS)


def _prepare_builtin(name: str, out: Path, size: int) -> PrepareReport:
    key = f"built-in {name} {size}"
    if report := _find_same(out, key):
        return report
    dataset = load_builtin(name, size)
    with PreparedWriter(out, size, dataset.class_names) as writer:
        for image, label in zip(dataset.images, dataset.labels.tolist(), strict=True):
            writer.append(image, label)
        writer.commit(source=name, fingerprint=key)
    return PrepareReport(writer.count, [], out)


def _find_same(out: Path, key: str) -> PrepareReport | None:
    """A report if `out` is the set with this fingerprint, None if it does not exist.

    Raises:
        UserError: it is something else or damaged, or it cannot be made.
    """
    if not os.path.lexists(out):
        check_folder(out.parent, out)
        return None
    if is_prepared(out):
        info = read_info(out)
        if info.fingerprint == key:
            open_prepared(out)
            return PrepareReport(info.count, list(info.skipped), out, reused=True)
    raise UserError(f"{out} exists and holds something else: remove it or choose another OUT")


def _decode_in_order(images: Iterable[RawImage], size: int, workers: int) -> Generator[Decoded]:
    """Decodes in threads (Pillow works outside the interpreter lock), a bounded number of chunks ahead."""
    stream = iter(images)
    waiting: deque[Future[list[Decoded]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        while True:
            while len(waiting) < 2 * workers and (chunk := list(islice(stream, _CHUNK))):
                waiting.append(pool.submit(_decode_chunk, chunk, size))
            if not waiting:
                return
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_chunk(chunk: list[RawImage], size: int) -> list[Decoded]:
    return [(image, _decode(image, size)) for image in chunk]


def _decode(image: RawImage, size: int) -> np.ndarray | str:
    try:
        return read_square(image.encoded, size)
    except DecodeError as error:
        return str(error)
