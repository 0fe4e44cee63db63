"""Checkpoints that survive a crash: written aside, synced, checksummed and renamed."""

import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from attnorm.config import Frozen, read_json
from attnorm.errors import UserError
from attnorm.files import crc32_of, explained, folder_aside

STATE, MANIFEST = "state.pt", "manifest.json"


class Manifest(Frozen):
    """The expected state file."""

    step: int
    bytes: int
    crc32: int


def save(folder: Path, step: int, state: dict[str, Any], keep: int, model: Path | None = None) -> None:
    """Writes `state`, nested dictionaries of tensors and plain values, to `folder`/step-N, and removes old checkpoints.

    The files of the saved `model` are copied beside it, so that the checkpoint can be loaded as a model. The `keep` - 1
    checkpoints before it stay. Later ones are removed: they are damaged, so training resumed before them. Raises a
    UserError if the folder cannot be written; the existing checkpoints are then intact.
    """
    final, remedy = path_of(folder, step), "free some space or make the folder writable, then resume"
    with explained(f"cannot write the checkpoint {final}", remedy, RuntimeError), folder_aside(final) as aside:
        if model is not None:
            shutil.copytree(model, aside, dirs_exist_ok=True)
        with (aside / STATE).open("wb") as file:
            torch.save(state, file)
        manifest = Manifest(step=step, bytes=(aside / STATE).stat().st_size, crc32=crc32_of(aside / STATE))
        (aside / MANIFEST).write_text(manifest.model_dump_json())
    others = _by_age(folder)
    index = others.index(final)
    for other in [*others[index + 1 :], *others[: max(index + 1 - keep, 0)]]:
        shutil.rmtree(other, ignore_errors=True)  # the new one is safe; an old one that stays only takes space


def path_of(folder: Path, step: int) -> Path:
    """The path of the checkpoint of a step."""
    return folder / f"step-{step}"


def newest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest intact checkpoint, on the CPU, or None if there are none; and a message for each later, damaged one.

    Raises a UserError if there are checkpoints, but none is intact.
    """
    problems: list[str] = []
    for path in reversed(_by_age(folder)):
        try:
            return load(path), problems
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError(f"{'; '.join(problems)}; no intact checkpoint is left in {folder}")
    return None, []


def latest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint, intact or not; None if there are none."""
    names = [path.name.removeprefix("step-") for path in _by_age(folder)]
    return int(names[-1]) if names else None


def load(path: Path) -> dict[str, Any]:
    """The state in a checkpoint's folder, on the CPU. Raises a UserError if it is missing or damaged."""
    if not path.is_dir():
        raise UserError(f"there is no checkpoint {path}")
    try:
        manifest, file = read_json(Manifest, path / MANIFEST), path / STATE
        with explained(f"cannot read {STATE}"):
            if file.stat().st_size != manifest.bytes or crc32_of(file) != manifest.crc32:
                raise UserError(f"the checksum of {STATE} is wrong")
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        return state
    except UserError as error:
        raise UserError(f"{path} is damaged ({error})") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(f"{path} is damaged ({STATE} is not a training state: {type(error).__name__})") from error


def _by_age(folder: Path) -> list[Path]:
    """Complete checkpoint folders, oldest step first."""
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))
