"""Saved models wherever they are: their place, what they are for, and what their cards say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import logging as hub_logging

from attnorm.config import nearest
from attnorm.errors import UserError
from attnorm.json_records import is_step, read_json
from attnorm.shipped import CARD_FILE, CONFIG_FILE, TRAINING_FILE, shipped_model, shipped_models

Task = Literal["class-conditional", "inpainting"]
NOT_STATED = "not stated"
LONGEST_NAME = 60  # letters of one that is repeated in an error


def find_model(source: str | Path) -> str | Path:
    """The model's folder for a run, a saved or a shipped model, or the name of a repository on the hub.

    Raises:
        UserError: nothing there is a model.
    """
    path = Path(source)
    try:
        path.exists()
    except (OSError, ValueError) as error:  # a name that no file can have
        raise UserError(f"there is no run or model at {abridged_name(str(source))}: {error.args[-1]}") from error
    for folder in (path / "model", path):
        if (folder / CONFIG_FILE).is_file():
            return folder
    if (path / "config.yaml").is_file():
        raise UserError(f"the run {path} has saved no model yet: it is written with the first checkpoint")
    if path.exists():
        raise UserError(f"{path} is neither a run nor a saved model: it has no {CONFIG_FILE}")
    return shipped_model(source) or _hub_model(str(source))


def task_of(source: str | Path) -> Task | None:
    """What the model of a run, a folder, a shipped name or a repository on the hub is for; None of one that is damaged
    or something else: whoever loads it says what is wrong.

    Raises:
        UserError: nothing at `source` is a run or a model.
    """
    model = find_model(source)
    try:
        config = saved_config(model)
    except UserError:
        return None
    return "inpainting" if "branch" in config else "class-conditional" if "latent_dim" in config else None


def saved_config(model: str | Path) -> dict[str, Any]:
    """The configuration of a model that `find_model` found, as it was saved.

    Raises:
        UserError: it is damaged or cannot be read.
    """
    file = _file_of(model, CONFIG_FILE)
    config = _read(file) if file else None
    if not isinstance(config, dict):
        raise UserError(f"{file or f'{model}/{CONFIG_FILE}'} is damaged, save or download the model again")
    return config


def write_step(folder: Path, step: int) -> None:
    """Notes beside saved weights after how many steps of training they were saved.

    Raises:
        OSError: the file cannot be written.
    """
    (folder / TRAINING_FILE).write_text(json.dumps({"step": step}) + "\n", encoding="utf-8")


def step_of(model: str | Path) -> int | None:
    """After how many steps of training the weights of a model that `find_model` found were saved; None of those that do
    not say, being of an earlier version, from elsewhere, or not there.

    Raises:
        UserError: what is beside them is damaged or cannot be read.
    """
    file = _file_of(model, TRAINING_FILE)
    if file is None:
        return None
    found = _read(file)
    step: int | None = found.get("step") if isinstance(found, dict) else None
    if not is_step(step):
        raise UserError(f"{file} does not say which step the model is of: save or download the model again")
    return step


def licence_of(model: str | Path) -> str:
    """Of the weights of a model that `find_model` found, as its card has it; "not stated" if nothing says.

    Raises:
        UserError: the head of the card cannot be read.
    """
    card = _file_of(model, CARD_FILE)
    if card is None:
        return NOT_STATED
    licence = card_at(card).data.get("license")
    if not isinstance(licence, str | None):
        raise UserError(
            f"the head of the card {card} is not readable: its licence is no text: mend it, or remove the file"
        )
    return licence or NOT_STATED


def card_at(file: Path) -> ModelCard:
    """Raises a UserError if the card, or its head, cannot be read."""
    try:
        return ModelCard.load(file)
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"the head of the card {file} is not readable: mend it, or remove the file") from error


def name_of(source: str | Path) -> str:
    """What a model is called: as its run, its folder, or its repository without the organisation."""
    path = Path(source)
    resolved = path.resolve()
    return resolved.parent.name if resolved.name == "model" else resolved.name


def abridged_name(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"


def _read(file: Path) -> Any:
    """What a file of JSON says, None if that cannot be told."""
    try:
        return read_json(file)
    except ValueError:
        return None
    except OSError as error:
        raise UserError(f"cannot read {file} ({error.strerror or error})") from error


def _file_of(model: str | Path, name: str) -> Path | None:
    """A file of a model's folder or repository, if it is there."""
    from huggingface_hub import hf_hub_download

    if isinstance(model, Path):
        return model / name if (model / name).is_file() else None
    try:
        with _hub_silent():
            return Path(hf_hub_download(model, name))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
        return None


@contextmanager
def _hub_silent() -> Iterator[None]:
    """Its client would print a line for each attempt without a network; what became of them is said in one."""
    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity_error()
    try:
        yield
    finally:
        hub_logging.set_verbosity(before)


def _hub_model(name: str) -> str:
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        meant = nearest(name, shipped_models()) or " (`attnorm models` lists those that come with attnorm)"
        raise UserError(f"there is no run or model at {name}{meant}")
    folder = Path(name).parts[0]
    if Path(folder).is_dir():  # a misspelt run of it is likelier than an organisation of that name
        meant = nearest(name, [path.as_posix() for path in Path(folder).glob("*/")])
        raise UserError(
            f"there is no run or model at {name}{meant} (there is a folder {folder} here, so the hub is not asked)"
        )
    if _file_of(name, CONFIG_FILE) is None:
        raise UserError(f"there is no run or model at {name}, and the hub did not give one either")
    return name
