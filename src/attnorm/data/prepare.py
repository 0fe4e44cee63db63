"""Turns a raw picture set into a prepared folder: decode in parallel, keep the order, write once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from attnorm.data.builtin import BUILTIN, stream_builtin
from attnorm.data.dataset import is_prepared, open_prepared, read_info
from attnorm.data.decode import DecodeError, Square, pillow_quiet, read_square
from attnorm.data.progress import track
from attnorm.data.sources import RawPicture, fingerprint, open_source
from attnorm.data.writer import PreparedWriter
from attnorm.errors import UserError, one_line
from attnorm.files import check_folder

_CHUNK = 8  # pictures per task: a task per small picture would cost more than decoding it
_MOST_WORKERS = 16
_NAMED_SKIPS = 10
LARGEST_WORKERS = 256
_LARGEST_SIZE = 4096  # as large as any network here takes

Decoded = tuple[RawPicture, "Square | str"]  # a picture with its pixels, or with why it has none


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation did: pictures written, (name, reason) of each one skipped, where, and how many of those
    written had 16 bits for each colour, of which 8 are kept."""

    count: int
    skipped: list[tuple[str, str]] = field(repr=False)
    path: Path
    reused: bool = False  # the same set was there already and was left untouched
    reduced: int = 0

    def notices(self) -> list[str]:
        """How many pictures were skipped, the first few by name, and how many lost bits; nothing if none was or did."""
        lost = [f"{self.reduced} with 16 bits per colour: the upper 8 of them are kept"] if self.reduced else []
        if not self.skipped:
            return lost
        lines = [f"skipped {len(self.skipped)} of {self.count + len(self.skipped)} pictures:"]
        lines += [one_line(f"  {name}: {reason}") for name, reason in self.skipped[:_NAMED_SKIPS]]
        if len(self.skipped) > _NAMED_SKIPS:
            lines.append(f"  and {len(self.skipped) - _NAMED_SKIPS} more, all in {self.path / 'dataset.json'}")
        return lines + lost


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
    """Prepares a raw folder or parquet file(s) as (N, size, size, 3) uint8 in the new folder `out`.

    Pictures that cannot be decoded are skipped and reported. The bytes written do not depend on `workers`
    (threads; by default one per processor). An `out` prepared from the same files in the same way is left
    untouched and reported as `reused`.

    Raises UserError if `out` is something else, if `source` is not usable, or if no picture is left.
    """
    check_size(size)
    source, out, workers = Path(source), Path(out), default_workers() if workers is None else workers
    check_workers(workers)
    _check_apart(source, out)
    key = fingerprint(source, size, image_column, label_column)
    if report := find_same(out, key):
        return report
    raw = open_source(source, image_column=image_column, label_column=label_column)
    reduced = 0
    with PreparedWriter(out, size, raw.class_names) as writer:
        decoded = _decode_in_order(raw.read(), size, workers)
        with pillow_quiet(), closing(decoded):
            for picture, result in track(decoded, f"preparing {source.name}", len(raw), show=progress):
                if isinstance(result, str):
                    writer.skip(picture.name, result, picture.label)
                else:
                    writer.append(result.pixels, picture.label)
                    reduced += result.is_reduced
        writer.commit(source=str(source), fingerprint=key)
    return PrepareReport(writer.count, writer.skipped, out, reduced=reduced)


def _check_apart(source: Path, out: Path) -> None:
    """Raises UserError if `source` is an output already or `out` would become part of the source."""
    if is_prepared(source):
        raise UserError(f"{source} is prepared already: train on it, or prepare what it was made from again")
    if out.resolve().is_relative_to(source.resolve()):
        raise UserError(f"{out} lies inside {source}: choose an OUT outside of the pictures")


def prepare_builtin(
    name: str,
    out: str | Path,
    size: int,
    *,
    count: int | None = None,
    seed: int = 0,
    workers: int = 1,
    progress: bool = True,
) -> PrepareReport:
    """Prepares a built-in set as `prepare` does a raw one; the arguments are those of `load_builtin`."""
    out = Path(out)
    check_size(size)
    check_workers(workers)
    number, stream = stream_builtin(name, size, count=count, seed=seed, workers=workers)
    key = f"built-in {name} size={size} count={number} seed={seed}"
    if report := find_same(out, key):
        return report
    with PreparedWriter(out, size, BUILTIN[name].class_names()) as writer:
        with closing(stream):
            for image, label in track(stream, f"rendering {name}", number, show=progress):
                writer.append(image, label)
        writer.commit(source=name, fingerprint=key)
    return PrepareReport(writer.count, writer.skipped, out)


def check_size(size: int) -> None:
    """Raises UserError if pictures cannot have this side."""
    if size < 1:
        raise UserError(f"the size of the pictures must be at least 1, not {size}")
    if size > _LARGEST_SIZE:
        raise UserError(f"the size of the pictures must be at most {_LARGEST_SIZE}, not {size}")


def check_workers(workers: int) -> None:
    """Raises UserError if so many cannot work at once."""
    if workers < 1:
        raise UserError(f"the number of workers must be at least 1, not {workers}")
    if workers > LARGEST_WORKERS:
        raise UserError(f"the number of workers must be at most {LARGEST_WORKERS}, not {workers}")


def find_same(out: Path, key: str) -> PrepareReport | None:
    """The report of the set already at `out` if it has this fingerprint, or None if `out` is free.

    Raises UserError if anything else is there, or the same set but damaged, or `out` cannot be made.
    """
    if not os.path.lexists(out):
        check_folder(out.parent, out)
        return None
    if is_prepared(out) and (info := read_info(out)).fingerprint == key:
        open_prepared(out)  # a damaged set is not the same set
        return PrepareReport(info.count, info.skipped, out, reused=True)
    raise UserError(f"{out} exists and holds something else: remove it or choose another OUT")


def _decode_in_order(pictures: Iterable[RawPicture], size: int, workers: int) -> Generator[Decoded]:
    """Decodes in threads (Pillow works outside the interpreter lock), a bounded number of chunks ahead."""
    stream = iter(pictures)
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


def _decode_chunk(chunk: list[RawPicture], size: int) -> list[Decoded]:
    return [(picture, _decode(picture, size)) for picture in chunk]


def _decode(picture: RawPicture, size: int) -> Square | str:
    try:
        return read_square(picture.encoded, size)
    except DecodeError as error:
        return str(error)


def default_workers() -> int:
    """The processors this process may use, within reason."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_WORKERS)
