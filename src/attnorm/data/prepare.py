"""Turns a raw picture set into a prepared folder or shards of one: decode in parallel, keep the order, write once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from attnorm.data.builtin import BUILTIN, stream_builtin
from attnorm.data.dataset import open_part, open_prepared
from attnorm.data.decode import DecodeError, Square, pillow_quiet, read_square
from attnorm.data.manifest import LARGEST_SIZE, is_prepared, missing_shares, read_present
from attnorm.data.progress import track
from attnorm.data.shards import SHARD_PATTERN, WHOLE, Share, chosen_shares, leftovers_in, parts_in, share_called
from attnorm.data.sources import RawPicture, RawSource, fingerprint, open_source
from attnorm.data.writer import PreparedWriter
from attnorm.errors import UserError, one_line
from attnorm.files import check_folder

_CHUNK = 8  # pictures per task: a task per small picture would cost more than decoding it
_MOST_WORKERS = 16
_NAMED_SKIPS = 10
LARGEST_WORKERS = 256

Decoded = tuple[RawPicture, "Square | str"]  # a picture with its pixels, or with why it has none


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation did: pictures written, (name, reason) of each one skipped, where, and how many of those
    written had 16 bits for each colour, of which 8 are kept.

    shards: the reports of the shards that it was about, if the set is sharded.
    missing: the shards that the set still lacks.
    leftovers: folders in the set that hold unfinished work on shards that are finished.
    """

    count: int
    skipped: list[tuple[str, str]] = field(repr=False)
    path: Path
    reused: bool = False  # the same set was there already and was left untouched
    reduced: int = 0
    share: Share = WHOLE
    shards: tuple[PrepareReport, ...] = ()
    missing: tuple[Share, ...] = ()
    leftovers: tuple[Path, ...] = ()

    def notices(self) -> list[str]:
        """How many pictures were skipped, the first few by name, and how many lost bits; nothing if none was or did."""
        lost = [f"{self.reduced} with 16 bits per colour: the upper 8 of them are kept"] if self.reduced else []
        if not self.skipped:
            return lost
        lines = [f"skipped {len(self.skipped)} of {self.count + len(self.skipped)} pictures:"]
        lines += [one_line(f"  {name}: {reason}") for name, reason in self.skipped[:_NAMED_SKIPS]]
        if len(self.skipped) > _NAMED_SKIPS:
            folder = self.path / SHARD_PATTERN if len(self.shards) > 1 else self.path
            lines.append(f"  and {len(self.skipped) - _NAMED_SKIPS} more, all in {folder / 'dataset.json'}")
        if len(self.shards) > 1:
            by_shard = [f"{len(one.skipped)} of shard {one.share.number}" for one in self.shards if one.skipped]
            lines.append(f"  these are {', '.join(by_shard)}")
        return lines + lost


def prepare(
    source: str | Path,
    out: str | Path,
    size: int,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    shards: int = 1,
    shard: int | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> PrepareReport:
    """Prepares a raw folder or parquet file(s) as (N, size, size, 3) uint8 in the new folder `out`.

    Pictures that cannot be decoded are skipped and reported. The bytes written do not depend on `workers`
    (threads; by default one per processor). An `out` prepared from the same files in the same way is left
    untouched and reported as `reused`.

    With several `shards`, `out` has a folder for each: the k-th, counted from 0, holds what is usable of the k-th of
    that many equal stretches of the source. The set is the same as without. With `shard` only that one is written,
    so that several processes, also on several machines that see the same folders, can write one each.

    Raises UserError if `out` is something else, if `source` is not usable, or if no picture is left.
    """
    check_size(size)
    shares = chosen_shares(shards, shard)
    source, out, workers = Path(source), Path(out), default_workers() if workers is None else workers
    check_workers(workers)
    _check_apart(source, out)
    options = {"image_column": image_column, "label_column": label_column}
    key = fingerprint(source, size, image_column, label_column)
    done = find_same(out, key, shards)
    raw = None
    for share in shares:
        if share not in done:
            raw = raw or open_source(source, image_column=image_column, label_column=label_column)
            if len(raw) < shards:
                raise UserError(
                    f"{source} has {len(raw)} pictures, too few for {shards} shards: ask for at most {len(raw)}"
                )
            with PreparedWriter(out, size, raw.class_names, share) as writer:
                reduced = _write(raw, share, source, writer, workers, progress)
                writer.commit(source=str(source), fingerprint=key, options=options)
            done[share] = PrepareReport(writer.count, writer.skipped, share.folder(out), False, reduced, share)
    return _together(out, [done[share] for share in shares])


def _write(raw: RawSource, share: Share, source: Path, writer: PreparedWriter, workers: int, progress: bool) -> int:
    """Decodes the pictures of one share and hands them to the writer; returns how many of them lost bits."""
    reduced = 0
    rows = share.rows(len(raw))
    title = f"preparing {source.name}{f', {share}' if share.of > 1 else ''}"
    decoded = _decode_in_order(raw.read(rows), writer.size, workers)
    with pillow_quiet(), closing(decoded):
        for picture, result in track(decoded, title, len(rows), show=progress):
            if isinstance(result, str):
                writer.skip(picture.name, result, picture.label)
            else:
                writer.append(result.pixels, picture.label)
                reduced += result.is_reduced
    return reduced


def _together(out: Path, reports: Sequence[PrepareReport]) -> PrepareReport:
    """The report about all shards asked for. A set that is complete now is opened, to find out whether it is whole."""
    if reports[0].share == WHOLE:
        return reports[0]
    missing = missing_shares(read_present(out))
    if not missing:
        open_prepared(out)
    return PrepareReport(
        count=sum(one.count for one in reports),
        skipped=[skip for one in reports for skip in one.skipped],
        path=out if len(reports) > 1 else reports[0].path,
        reused=all(one.reused for one in reports),
        reduced=sum(one.reduced for one in reports),
        share=reports[0].share,
        shards=tuple(reports),
        missing=tuple(missing),
        leftovers=tuple(leftovers_in(out)),
    )


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
    if report := find_same(out, key).get(WHOLE):
        return report
    with PreparedWriter(out, size, BUILTIN[name].class_names()) as writer:
        with closing(stream):
            for image, label in track(stream, f"rendering {name}", number, show=progress):
                writer.append(image, label)
        writer.commit(source=name, fingerprint=key, options={"count": number, "seed": seed})
    return PrepareReport(writer.count, writer.skipped, out)


def check_size(size: int) -> None:
    """Raises UserError if pictures cannot have this side."""
    if size < 1:
        raise UserError(f"the size of the pictures must be at least 1, not {size}")
    if size > LARGEST_SIZE:
        raise UserError(f"the size of the pictures must be at most {LARGEST_SIZE}, not {size}")


def check_workers(workers: int) -> None:
    """Raises UserError if so many cannot work at once."""
    if workers < 1:
        raise UserError(f"the number of workers must be at least 1, not {workers}")
    if workers > LARGEST_WORKERS:
        raise UserError(f"the number of workers must be at most {LARGEST_WORKERS}, not {workers}")


def find_same(out: Path, key: str, shards: int = 1) -> dict[Share, PrepareReport]:
    """The reports of what is already at `out` of the set with this fingerprint; none if `out` is free.

    Raises UserError if anything else is there, or the same set but damaged, or `out` cannot be made.
    """
    if not os.path.lexists(out):
        check_folder(out.parent, out)
        return {}
    for share, path in parts_in(out):
        if share.of != shards and path != share.folder(out):
            raise UserError(
                f"{out} is where a set of {_shards(share.of)} is being written, not of {_shards(shards)}:"
                f" choose another OUT, or remove {path} if no job writes it any more"
            )
    found: dict[Share, PrepareReport] = {}
    if is_prepared(out):
        for info in read_present(out):
            if info.share.of != shards:
                raise UserError(
                    f"{out} exists with {_shards(info.share.of)}, not {_shards(shards)}: choose another OUT"
                )
            if info.fingerprint != key:
                raise UserError(f"{info.folder} exists and holds something else: remove it or choose another OUT")
            open_part(info)  # a damaged set is not the same set
            found[info.share] = PrepareReport(info.count, info.skipped, info.folder, reused=True, share=info.share)
    elif shards == 1 or not out.is_dir() or not all(share_called(path.name) for path in out.iterdir()):
        raise UserError(f"{out} exists and holds something else: remove it or choose another OUT")
    return found


def _shards(number: int) -> str:
    return f"{number} shards" if number > 1 else "no shards"


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
