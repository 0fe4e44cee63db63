"""Atomic writes of files and folders, and errors of the system and the network as sentences."""

import errno
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from attnorm.cache import cache_folder
from attnorm.errors import UserError

_CHUNK = 1 << 22
PATIENCE = 2.5  # seconds until a host must answer


@contextmanager
def explained(problem: str, remedy: str = "", *others: type[Exception]) -> Iterator[None]:
    """Turns a system error in the block, or one of `others`, into a UserError "PROBLEM (REASON): REMEDY"."""
    expected: tuple[type[Exception], ...] = (OSError, *others)
    try:
        yield
    except expected as error:
        # For a full disk torch.save raises a RuntimeError about its own file format, with the reason behind it.
        cause = error.__context__
        reason = cause if isinstance(error, RuntimeError) and isinstance(cause, OSError) else error
        sentence = f"{problem} ({getattr(reason, 'strerror', None) or reason})"
        raise UserError(f"{sentence}: {remedy}" if remedy else sentence) from error


def network_problem(address: str) -> str | None:
    """Why the host of an address cannot be reached, or None. Clients would try for much longer."""
    from huggingface_hub import constants, get_session  # its client knows of proxies

    answers: list[object] = []

    def ask() -> None:
        with suppress(Exception):  # of whichever HTTP library it uses
            answers.append(get_session().head(address, timeout=PATIENCE))

    if constants.HF_HUB_OFFLINE:
        return "no network, because HF_HUB_OFFLINE is set"
    asking = Thread(target=ask, daemon=True)  # the lookup of a name has no timeout
    asking.start()
    asking.join(PATIENCE)
    return None if answers else f"no network: {'/'.join(address.split('/')[:3])} does not answer"


def make_folder(folder: Path) -> None:
    """Creates a folder and its parents. Only its owner may use the cache, because a library is loaded from it: see
    docs/safe-weights.md.
    """
    with suppress(RuntimeError):  # a user without a home folder
        cache = cache_folder()
        if cache in (folder, *folder.parents):
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to. It is renamed to `path` at the end, and removed after a failure.

    Raises:
        OSError: the folder cannot be created, the file cannot be written or renamed, or `path` is not a regular file.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        make_folder(path.parent)
        if path.exists() and not path.is_file():  # renaming would replace /dev/null
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield partial
        sync_file(partial)  # else a power cut could leave the name without the content
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):  # the first error says more
            partial.unlink(missing_ok=True)


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """As `written_aside`, for a folder of files: an empty one to write to, which replaces `folder` at the end.

    Two renames replace it, and the old folder is removed after them. `put_back` repairs a crash between the two.

    Raises:
        OSError: a file cannot be synced or a folder renamed; `folder` is then unchanged.
    """
    aside, old = folder.with_name(f".{folder.name}.partial"), _old(folder)
    shutil.rmtree(aside, ignore_errors=True)  # left by a killed process
    try:
        aside.mkdir(parents=True)
        yield aside
        for path in aside.iterdir():
            sync_file(path)
        sync_folder(aside)
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
        sync_folder(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        put_back(folder)
        shutil.rmtree(aside, ignore_errors=True)


def put_back(folder: Path) -> None:
    """Restores the old folder that `folder_aside` moved away, if there is no new one."""
    if not folder.exists() and _old(folder).is_dir():
        _old(folder).rename(folder)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old.partial")


def check_output(path: Path, force: bool = False) -> None:
    """Checks, before any work, whether a file can be written to `path`.

    Raises a UserError if it exists and `force` is false, it is not a regular file, or its folder is not writable.
    """
    if os.path.lexists(path) and not force:
        raise UserError(f"{path} exists already: give --force to overwrite it, or another name")
    if path.exists() and not path.is_file():
        raise UserError(f"cannot write {path}: it is a folder, a pipe or a device: choose another name")
    check_folder(path.parent, path)


def check_folder(folder: Path, wanted: Path | None = None) -> None:
    """Checks whether `folder` can be written to or created; else a UserError, which names `wanted`."""
    wanted = folder if wanted is None else wanted
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), Path())
    if not there.is_dir():
        raise UserError(f"cannot write {wanted}: {there} is not a folder: choose another name")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"cannot write {wanted}: the folder {there} is not writable: choose another name")


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """As `written_aside`, for a file that the user named; a UserError says why it cannot be written."""
    with explained(f"cannot write {path}", "make room, or choose another name"), written_aside(path) as partial:
        yield partial


def sync_file(path: Path) -> None:
    """Syncs a file's content to the disk."""
    with path.open("r+b") as file:  # some systems sync only files that are open for writing
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Syncs renames in a folder to the disk, where the system can open folders."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def crc32_of(path: Path) -> int:
    """The checksum of a file's content."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value
