"""Turns a raw or built-in set into a prepared folder: decode in parallel, keep the order, write all or nothing."""

from __future__ import annotations

import os
import sys
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from attnorm.data import dataset
from attnorm.data.builtin import BUILTIN, load_builtin
from attnorm.data.choice import DEFAULT, Choice, listed
from attnorm.data.decode import DecodeError, pillow_quiet, read_square
from attnorm.data.listing import describe
from attnorm.data.raw import Content, RawImage, RawSource, named
from attnorm.data.sources import fingerprint, open_source
from attnorm.data.terminal import track
from attnorm.errors import UserError, one_line
from attnorm.files import check_folder, explained, folder_aside, make_folder

_CHUNK = 8  # images per task: a task per small image would cost more than decoding it
_MOST_WORKERS = 16
_DARK = 64  # of 255: below it, an image uses a quarter of its range at most

Decoded = tuple[str, "np.ndarray | str"]  # the name of an image, and its pixels or why it has none


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation did: the folder and its `dataset.json`, notices of a line each, and whether it was there."""

    path: Path
    info: dataset.PreparedInfo
    notices: list[str]
    reused: bool = False


def prepare(
    source: str | Path, out: str | Path, size: int, choice: Choice = DEFAULT, *, workers: int = 0, progress: bool = True
) -> PrepareReport:
    """Prepares a raw or built-in set as (N, size, size, 3) uint8 in the new folder `out`; UserError if that fails.

    Images that cannot be decoded are skipped and reported. An `out` prepared from the same files in the same way is
    left untouched. The bytes written do not depend on the `workers`: threads, 0 for one per processor, at most 16.
    """
    if not 1 <= size <= dataset.LARGEST_SIZE:
        raise UserError(f"the size of the images must be from 1 to {dataset.LARGEST_SIZE}, not {size}")
    path, out = Path(source), Path(out)
    is_builtin = str(source) in BUILTIN
    if dataset.is_prepared(path):
        raise UserError(f"{path} is prepared already: train on it, or prepare what it was made from again")
    if not is_builtin and out.resolve().is_relative_to(path.resolve()):
        raise UserError(f"{out} lies inside {path}: choose an OUT outside of the images")
    key = f"built-in {source} {size}" if is_builtin else fingerprint(source, size, choice)
    if report := _find_same(out, key):
        return report
    if is_builtin:
        builtin = load_builtin(str(source), size)
        raw = RawSource("", builtin.class_names, builtin.labels, lambda: named(str(source), builtin.images))
    else:
        raw = open_source(source, choice)
    workers = workers or min(os.cpu_count() or 1, _MOST_WORKERS)
    with explained(f"cannot write {out}", "make room or choose another OUT"), _one_at_a_time(out):
        if report := _find_same(out, key):  # of another process, while this one waited
            return report
        with folder_aside(out) as partial:
            info, notices = _write(partial, raw, size, workers, path, key, progress)
            if os.path.lexists(out):
                raise FileExistsError(0, "it has appeared meanwhile")
    return PrepareReport(out, info, [*raw.notices, *notices])


def _write(
    folder: Path, raw: RawSource, size: int, workers: int, source: Path, key: str, progress: bool
) -> tuple[dataset.PreparedInfo, list[str]]:
    """Writes the files of a prepared set; returns its description and notices."""
    labels: list[int] = []
    skipped, dark = list(raw.skipped), []
    failed: dict[int, str] = {}  # by class, the first image
    crc32 = 0
    decoded = _decode_in_order(raw.read(), size, workers)
    with pillow_quiet(), closing(decoded), (folder / dataset.IMAGES_FILE).open("wb") as file:
        images = track(decoded, f"preparing {source.name}", len(raw.labels), show=progress)
        for (name, pixels), label in zip(images, raw.labels.tolist(), strict=True):
            if isinstance(pixels, str):
                skipped.append((name, pixels))
                failed.setdefault(label, f"{name} ({pixels})")
                continue
            file.write(pixels.data)
            crc32 = zlib.crc32(pixels.data, crc32)
            labels.append(label)
            if pixels.max() < _DARK:
                dark.append(name)
    if lost := [raw.class_names[label] for label in failed.keys() - set(labels)]:
        first = failed[raw.class_names.index(lost[0])]
        raise UserError(f"no usable image in class {listed(lost)}, the first being {first}: replace or remove them")
    np.save(folder / dataset.LABELS_FILE, np.array(labels, dtype=np.int64))
    info = dataset.PreparedInfo(
        version=dataset.VERSION,
        size=size,
        count=len(labels),
        class_names=tuple(map(_as_utf8, raw.class_names)),
        source=_as_utf8(str(source)),
        fingerprint=key,
        images_crc32=crc32,
        labels_crc32=zlib.crc32((folder / dataset.LABELS_FILE).read_bytes()),
        skipped=tuple((_as_utf8(name), reason) for name, reason in skipped),
    )
    (folder / dataset.INFO_FILE).write_text(info.model_dump_json(indent=1), encoding="utf-8")
    notices = [f"skipped {len(skipped)} of {len(labels) + len(skipped)} files:"] if skipped else []
    notices += [one_line(f"  {line}") for line in describe(list(info.skipped))]
    if dark:
        notices.append(
            f"{len(dark)} of {len(labels)} images have no value above {_DARK - 1} of 255: {listed(dark)}: scale them"
            " if they hold values from 0 to 1, or 12 of 16 bits"
        )
    return info, notices


@contextmanager
def _one_at_a_time(out: Path) -> Iterator[None]:
    """Waits while another process prepares `out`."""
    make_folder(out.parent)
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print(f"waiting for another process that prepares {out}", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _find_same(out: Path, key: str) -> PrepareReport | None:
    """A report if `out` is the set with this fingerprint, None if it can be made; else a UserError."""
    if not os.path.lexists(out):
        check_folder(out.parent, out)
        return None
    if dataset.is_prepared(out) and (info := dataset.read_info(out)).fingerprint == key:
        dataset.open_prepared(out)
        return PrepareReport(out, info, [], reused=True)
    raise UserError(f"{out} exists and holds something else: remove it or choose another OUT")


def _decode_in_order(images: Iterable[RawImage], size: int, workers: int) -> Generator[Decoded]:
    """Decodes in threads (Pillow works outside the interpreter lock), a bounded number of chunks ahead."""
    stream = iter(images)
    waiting: deque[Future[list[Decoded]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        while True:
            while len(waiting) < 2 * workers and (chunk := list(islice(stream, _CHUNK))):
                waiting.append(pool.submit(lambda chunk: [_decode(*image, size) for image in chunk], chunk))
            if not waiting:
                return
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _decode(name: str, content: Content, size: int) -> Decoded:
    try:
        return name, read_square(content, size)
    except DecodeError as error:
        return name, str(error)


def _as_utf8(name: str) -> str:
    """A file name with the bytes that are not UTF-8 escaped, so that JSON can hold it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
