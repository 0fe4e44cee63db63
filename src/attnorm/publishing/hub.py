"""Sending a model's folder to the Hugging Face hub."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from attnorm.errors import UserError
from attnorm.models.class_conditional import Generator
from attnorm.models.inpainting import InpaintingGenerator
from attnorm.models.saved import card_at, step_of, task_of
from attnorm.publishing.card import renamed
from attnorm.publishing.package import Wishes, package
from attnorm.shipped import CARD_FILE, CONFIG_FILE, shipped_model
from attnorm.training.run_folder import CONFIG

# Without a network the hub's client raises what its own HTTP library does: OSErrors of one, and relatives of the error
# that HfHubHTTPError is made from of another.
HUB_ERRORS: tuple[type[BaseException], ...] = (*HfHubHTTPError.__bases__, OSError)


class Pushed(NamedTuple):
    """url: of the repository, None for a dry run. files: bytes by name. complaints: what of the run's records could not
    be read.
    """

    url: str | None
    files: dict[str, int]
    complaints: list[str]


def push(source: str, repository: str, wishes: Wishes, *, private: bool = False, dry_run: bool = False) -> Pushed:
    """Makes the folder of a run, or takes one that `attnorm package` made, and uploads it to ORGANISATION/NAME.

    Everything in the folder and its folders goes, except what is hidden; the card goes under the new name. Nothing goes
    that others could not load, and no file that a link fetches from elsewhere.

    Args:
        private: only for the owner's eyes; a repository that is public already is left alone.
        dry_run: do everything but talk to the hub.

    Raises:
        UserError: there is nothing to push, it is damaged or a link leaves it, there is no token or no network, or the
            hub refuses.
    """
    _check_name(repository)
    with _model_folder(source, repository, wishes) as (folder, complaints):
        files = _contents(folder, repository)
        sizes = {name: len(file) if isinstance(file, bytes) else file.stat().st_size for name, file in files.items()}
        return Pushed(None if dry_run else _upload(files, repository, private), sizes, complaints)


def _check_name(repository: str) -> None:
    try:
        validate_repo_id(repository)
        valid = repository.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise UserError(
            f"{repository!r} is no name for the hub: give ORGANISATION/NAME, each of letters, digits, '-', '_' and '.'"
        )


@contextmanager
def _model_folder(source: str, repository: str, wishes: Wishes) -> Iterator[tuple[Path, list[str]]]:
    if (Path(source) / CONFIG).is_file():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / repository.rpartition("/")[2]
            card = package(Path(source), folder, repository, wishes)
            yield folder, card.facts.complaints
        return
    shipped = shipped_model(source)
    folder = shipped or Path(source)
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(f"there is no run, packaged folder or shipped model at {source}")
    if wishes != Wishes():
        raise UserError(f"{source} is no run, and its card is written already: edit its {CARD_FILE} instead")
    if not (folder / CARD_FILE).is_file() or not card_at(folder / CARD_FILE).data.get("datasets"):
        raise UserError(f"the card of {source} does not say what the model is: push its run, or `attnorm package` it")
    if shipped is None:  # whose files an installer may have linked
        _check_links(folder)
    _check_model(folder)
    yield folder, []


def _check_links(folder: Path) -> None:
    """Of the hub's own cache a folder is full of links, to the blobs beside it."""
    whole = folder.resolve()
    homes = [whole, whole.parent.parent / "blobs"] if whole.parent.name == "snapshots" else [whole]
    for path in _visible(folder).values():
        stays = path.is_file() and any(path.resolve().is_relative_to(home) for home in homes)
        if path.is_symlink() and not stays:
            raise UserError(f"{path} is a link, and not to a file in {folder}: put a copy in its place, or remove it")


def _check_model(folder: Path) -> None:
    """Loads what others will load."""
    network = InpaintingGenerator if task_of(folder) == "inpainting" else Generator
    network.from_pretrained(folder.resolve())  # the whole path: the name alone may be that of a shipped model
    step_of(folder)


def _visible(folder: Path) -> dict[str, Path]:
    """What is in a folder and its folders, by its name there, except what is hidden."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {name: path for name, path in found.items() if not any(part.startswith(".") for part in name.split("/"))}


def _contents(folder: Path, repository: str) -> dict[str, Path | bytes]:
    """What goes to the hub, by its name there."""
    files: dict[str, Path | bytes] = {name: path for name, path in _visible(folder).items() if path.is_file()}
    return {**files, CARD_FILE: renamed(card_at(folder / CARD_FILE), repository).encode()}


def _upload(files: Mapping[str, Path | bytes], repository: str, private: bool) -> str:
    if get_token() is None:
        raise UserError("the hub wants to know who you are: log in with `hf auth login`, or set HF_TOKEN")
    api = HfApi()
    try:
        url = str(api.create_repo(repository, private=private or None, exist_ok=True))
        if private and not api.repo_info(repository).private:
            raise UserError(f"{url} is public already: make it private there, or choose another name")
        added = [CommitOperationAdd(name, file) for name, file in files.items()]
        api.create_commit(repository, added, commit_message="Upload with attnorm push")
    except HUB_ERRORS as error:
        raise UserError(f"the hub did not take {repository}: {_sentence(error)}") from error
    return url


def _sentence(error: BaseException) -> str:
    """What the hub's client says, which may be many lines, in one."""
    response = getattr(error, "response", None)
    status = f" (HTTP {response.status_code})" if response is not None else ""
    text = getattr(error, "server_message", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0].rstrip(".") + status
