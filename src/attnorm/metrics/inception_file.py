"""The standard Inception network as a file: fetched once, checked always."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from attnorm.cache import cache_folder
from attnorm.errors import UserError
from attnorm.files import written_aside

NAME = "inception-2015-12-05.pt"
URL = f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{NAME}"
SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
MEGABYTES = 96  # for the progress bar, where the server does not say
SHORT_DIGEST = 16
CHUNK = 1 << 20
TIMEOUT_SECONDS = 30  # without a byte

Progress = Callable[[str, int, int], None]  # (what, how much is done, how much in all)


def fetch(url: str = URL, sha256: str = SHA256, progress: Progress | None = None) -> Path:
    """The file in the cache folder, downloaded if it is not there yet.

    Raises:
        UserError: the download failed or gave another file; nothing is left behind.
    """
    path = cache_folder() / NAME
    if path.is_file():
        return path
    try:
        with written_aside(path) as partial:
            _download(url, partial, progress)
            check(partial, sha256, url)
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(
            f"{NAME} could not be downloaded from {url} ({error}): fetch it on another machine and give its path, or"
            f" put it at {path}"
        ) from error
    return path


def check(path: Path, expected: str = SHA256, origin: str = URL) -> None:
    """Raises UserError if the file at `path` cannot be read or has another SHA-256 than expected."""
    try:
        found = file_sha256(path)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): get it from {origin}") from error
    if found != expected:
        raise UserError(
            f"{path} is not the standard Inception network (SHA-256 {found[:SHORT_DIGEST]}…, not"
            f" {expected[:SHORT_DIGEST]}…): remove it and get it again from {origin}"
        )


def file_sha256(path: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _download(url: str, path: Path, progress: Progress | None) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, path.open("wb") as file:
        size, done = response.headers.get("Content-Length"), 0
        megabytes = -(-int(size) // CHUNK) if size else MEGABYTES
        while piece := response.read(CHUNK):
            file.write(piece)
            done += len(piece)
            if progress is not None:
                progress(f"MB of {NAME}", min(-(-done // CHUNK), megabytes), megabytes)
    if size and done != int(size):
        raise OSError(f"only {done} of {size} bytes came")
