"""Opens the data of `--data`. Raw images are prepared once, completely or not at all."""

import os
import sys
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from attnorm.data import dataset
from attnorm.data.builtin import load_builtin
from attnorm.data.choice import DEFAULT, Choice, listed
from attnorm.data.decode import DecodeError, pillow_quiet, read_square
from attnorm.data.listing import Content, RawImage, RawSource, Skipped, describe, named
from attnorm.data.progress import track
from attnorm.data.sources import fingerprint, kind_of, open_source
from attnorm.errors import UserError, counted, one_line
from attnorm.files import check_folder, explained, folder_aside, make_folder

_CHUNK = 8  # images per task, because a task costs more than decoding a small image
_MOST_WORKERS = 16
_DARK = 64  # of 255: below it, an image uses a quarter of its range at most
_KEY_LENGTH = 16  # letters of a fingerprint in the name of a folder

Decoded = tuple[str, int, "np.ndarray | str"]  # the name of an image, its class, and its pixels or why it has none


@dataclass(frozen=True)
class PrepareReport:
    """What a preparation did: the folder and its `dataset.json`, notices of a line each, and whether it was there."""

    path: Path
    info: dataset.PreparedInfo
    notices: list[str]
    reused: bool = False


class Summary(NamedTuple):
    """What a data set is: the images of each class, what is not read or cannot be, and the side of all images."""

    kind: str
    class_names: Sequence[str]
    counts: np.ndarray
    skipped: Sequence[Skipped] = ()
    notices: Sequence[str] = ()
    size: int | None = None


def load(source: str, size: int, choice: Choice = DEFAULT, *, cache: Path) -> dataset.ImageDataset:
    """Opens a built-in set by name, a prepared folder, or a raw set; UserError if that is not possible.

    Raw images are prepared once into a subfolder of `cache`, whose name changes with the source's files.
    """
    kind, path = kind_of(source, choice), Path(source)
    if kind == "built-in set":
        return load_builtin(source, size)
    if kind == "prepared folder":
        opened = dataset.open_prepared(path)
        if opened.size != size:
            found = f"{path} was prepared at {opened.size}×{opened.size} but {size}×{size} is needed"
            raise UserError(f"{found}: run attnorm data prepare SRC OUT --size {size}")
        return opened
    key = fingerprint(source, size, choice)
    report = prepare(source, cache / f"{path.resolve().stem}-{size}-{key[:_KEY_LENGTH]}", size, choice)
    for line in report.notices:
        print(line, file=sys.stderr)
    return dataset.open_prepared(report.path)


def summarize(source: str, choice: Choice = DEFAULT) -> Summary:
    """Reads all of a data set: it decodes a raw one, and compares the checksums of a prepared one, or a UserError."""
    kind = kind_of(source, choice)
    if kind == "raw set":
        raw = open_source(source, choice)
        counts, skipped = np.zeros(len(raw.class_names), np.int64), list(raw.skipped)
        for name, label, pixels in _decoded(raw, 1, f"reading {source}"):
            if isinstance(pixels, str):
                skipped.append((name, pixels))
            else:
                counts[label] += 1
        return Summary(raw.kind, raw.class_names, counts, skipped, raw.notices)
    if kind == "built-in set":
        opened = load_builtin(source, size=1)
        return Summary(kind, opened.class_names, np.bincount(opened.labels))
    opened, info = dataset.open_prepared(source), dataset.verify(Path(source))
    return Summary(kind, info.class_names, np.bincount(opened.labels), info.skipped, size=info.size)


def prepare(
    source: str | Path, out: str | Path, size: int, choice: Choice = DEFAULT, *, workers: int = 0, progress: bool = True
) -> PrepareReport:
    """Prepares a raw or built-in set as (N, size, size, 3) uint8 in the new folder `out`; UserError if that fails.

    Images that cannot be decoded are skipped and reported. An `out` prepared from the same files in the same way is
    left untouched. The bytes written do not depend on the `workers`: threads, 0 for one per processor, at most 16.
    """
    if not 1 <= size <= dataset.LARGEST_SIZE:
        raise UserError(f"the size of the images must be from 1 to {dataset.LARGEST_SIZE}, not {size}")
    kind, path, out = kind_of(source, choice), Path(source), Path(out)
    is_builtin = kind == "built-in set"
    if kind == "prepared folder":
        raise UserError(f"{path} is prepared already: train on it, or prepare what it was made from again")
    if not is_builtin and out.resolve().is_relative_to(path.resolve()):
        raise UserError(f"{out} is inside {path}: choose an OUT outside of the images")
    key = fingerprint(source, size, choice)
    if report := _find_same(out, key):
        return report
    if is_builtin:
        builtin = load_builtin(str(source), size)
        raw = RawSource("", builtin.class_names, builtin.labels, lambda: named(str(source), builtin.images))
    else:
        raw = open_source(source, choice)
    with explained(f"cannot write {out}", "make room or choose another OUT"), _one_at_a_time(out):
        if report := _find_same(out, key):  # written by another process while this one waited
            return report
        with folder_aside(out) as partial:
            images = _decoded(raw, size, f"preparing {path.name}", workers, progress)
            info, notices = _write(partial, raw, size, images, path, key)
    return PrepareReport(out, info, [*raw.notices, *notices])


def _write(
    folder: Path, raw: RawSource, size: int, decoded: Generator[Decoded], source: Path, key: str
) -> tuple[dataset.PreparedInfo, list[str]]:
    """Writes the files of a prepared set; returns its description and notices."""
    labels: list[int] = []
    skipped, dark = list(raw.skipped), []
    crc32 = 0
    with closing(decoded), (folder / dataset.IMAGES_FILE).open("wb") as file:
        for name, label, pixels in decoded:
            if isinstance(pixels, str):
                skipped.append((name, pixels))
                continue
            file.write(pixels.data)
            crc32 = zlib.crc32(pixels.data, crc32)
            labels.append(label)
            if pixels.max() < _DARK:
                dark.append(name)
    present = set(labels)
    if lost := [name for label, name in enumerate(raw.class_names) if label not in present]:
        why = "; ".join(describe(skipped[len(raw.skipped) :]))
        raise UserError(f"no usable image in class {listed(lost)}: replace or remove them: {why}")
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
    notices = [f"skipped {len(skipped)} of {counted(len(labels) + len(skipped), 'file')}:"] if skipped else []
    notices += [one_line(f"  {line}") for line in describe(list(info.skipped))]
    if dark:
        what = f"no value above {_DARK - 1} of 255 in {len(dark)} of {counted(len(labels), 'image')}"
        notices.append(f"{what}: {listed(dark)}: scale them if they hold values from 0 to 1, or 12 of 16 bits")
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
        notice = f"{counted(len(info.skipped), 'file')} skipped when {out} was prepared: remove that folder to retry"
        return PrepareReport(out, info, [notice] if info.skipped else [], reused=True)
    raise UserError(f"{out} holds something else, or these images at another size: remove it or choose another OUT")


def _decoded(raw: RawSource, size: int, title: str, workers: int = 0, progress: bool = True) -> Generator[Decoded]:
    """The images of a raw set in order, decoded in threads (Pillow works outside the interpreter lock)."""
    decoded = _decode_in_order(raw.read(), size, workers or min(os.cpu_count() or 1, _MOST_WORKERS))
    with pillow_quiet(), closing(decoded):
        images = track(decoded, title, len(raw.labels), show=progress)
        for (name, pixels), label in zip(images, raw.labels.tolist(), strict=True):
            yield name, label, pixels


def _decode_in_order(images: Iterable[RawImage], size: int, workers: int) -> Generator[tuple[str, np.ndarray | str]]:
    """Names, and pixels or why there are none; a bounded number of chunks is decoded ahead."""
    stream = iter(images)
    waiting: deque[Future[list[tuple[str, np.ndarray | str]]]] = deque()
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


def _decode(name: str, content: Content, size: int) -> tuple[str, np.ndarray | str]:
    try:
        return name, read_square(content, size)
    except DecodeError as error:
        return name, str(error)


def _as_utf8(name: str) -> str:
    """A file name with the bytes that are not UTF-8 escaped, so that JSON can hold it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
