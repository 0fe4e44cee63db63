"""Opens a raw set: a folder, an archive, parquet files, arrays, or a data set on the Hugging Face Hub."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from attnorm.data.arrays import find_batches, open_cifar, open_npz
from attnorm.data.choice import DEFAULT, Choice, listed, split_in
from attnorm.data.dataset import VERSION
from attnorm.data.folders import open_images
from attnorm.data.listing import list_source
from attnorm.data.raw import RawSource
from attnorm.errors import UserError

HUB = "hf:"  # hf:ORGANISATION/NAME, or hf:ORGANISATION/NAME:CONFIGURATION
_PATIENCE = 3  # seconds
_CONVERTED = "refs/convert/parquet"  # the branch to which the Hub converts every data set


def open_source(source: str | Path, choice: Choice = DEFAULT) -> RawSource:
    """Looks at images and their classes without decoding an image; UserError if there is nothing usable."""
    path, notices = _download(str(source), choice) if is_on_hub(source) else (Path(source), [])
    if path.suffix.lower() == ".npz":
        return open_npz(path, choice)
    listing = list_source(path)
    if batches := find_batches(listing):
        return open_cifar(listing, batches, choice)
    if not (parquet := listing.parquet()):
        return open_images(listing, choice)
    images, _, skipped = listing.images()
    if images:
        raise UserError(f"{path} holds both images and parquet files ({parquet[0]}): keep them apart")
    from attnorm.data.parquet import open_parquet

    raw = open_parquet(listing, parquet, choice)
    left = [(name, reason) for name, reason in skipped if name not in parquet]
    return replace(raw, notices=[*notices, *raw.notices], skipped=left, listing=listing)


def is_on_hub(source: str | Path) -> bool:
    return str(source).startswith(HUB)


def fingerprint(source: str | Path, *options: object) -> str:
    """A hexadecimal digest of the source's path, its files' names, sizes and times, and how it is prepared.

    The images are not read: a file replaced by one of the same size and time goes unnoticed. A data set on the Hub is
    known by its name.
    """
    path = Path(source)
    where = source if is_on_hub(source) else path.resolve()
    digest = hashlib.sha256(repr((VERSION, str(where), options)).encode("utf-8", "backslashreplace"))
    names = sorted(list_source(path).files) if path.is_dir() else [] if is_on_hub(source) else [""]
    for name in names:
        status = (path / name).stat()
        digest.update(repr((name, status.st_size, status.st_mtime_ns)).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _download(source: str, choice: Choice) -> tuple[Path, list[str]]:
    """The folder of a split's parquet files in the Hub's cache, and a notice of other splits."""
    from huggingface_hub import HfApi, constants, get_session, snapshot_download

    name, _, configuration = source.removeprefix(HUB).partition(":")
    prefix = f"{configuration}/" if configuration else ""
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)  # without a network, the client retries for long
        every = HfApi().list_repo_files(name, repo_type="dataset", revision=_CONVERTED)
        files = [file for file in every if file.endswith(".parquet") and file.startswith(prefix)]
        found = sorted({file.split("/")[0] for file in files})
        if len(found) != 1:
            raise UserError(f"{source} has {len(found)} configurations, add :NAME of one: {listed(found)}")
        kept, notices = choice.pick_split(source, [split_in(file) for file in files])
        wanted = [files[index] for index in kept]
        folder = snapshot_download(name, repo_type="dataset", revision=_CONVERTED, allow_patterns=wanted)
    except Exception as error:  # of the Hub's client, its HTTP library, or for a bad name
        if isinstance(error, UserError):
            raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"no network, or no such set on the Hub: {source} ({reason})") from error
    return Path(folder, found[0]), notices
