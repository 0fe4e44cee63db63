"""Checkpoints that survive a crash: written aside, synced, checksummed, renamed; the newest whole one is found."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from attnorm.config import Frozen, read_json
from attnorm.errors import UserError
from attnorm.files import crc32_of, swap_in

STATE, MANIFEST = "state.pt", "manifest.json"


class Manifest(Frozen):
    """What the state file must be."""

    step: int
    bytes: int
    crc32: int


def save(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Writes `folder`/step-N and removes all others but the `keep` - 1 before it.

    One of a later step goes too: a run that saves this step has passed it over as damaged.

    Args:
        state: nested dictionaries of tensors and plain values.

    Raises:
        UserError: the folder cannot be written; what was there before is intact.
    """
    final, aside = path_of(folder, step), folder / f".step-{step}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        with (aside / STATE).open("wb") as file:
            torch.save(state, file)
        manifest = Manifest(step=step, bytes=(aside / STATE).stat().st_size, crc32=crc32_of(aside / STATE))
        (aside / MANIFEST).write_text(manifest.model_dump_json())
        swap_in(aside, final)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        # For a full disk torch.save raises a RuntimeError about its own file format, with the reason behind it.
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        raise UserError(
            f"cannot write the checkpoint {final}: {reason}; free some space or make the folder writable, then resume"
        ) from error
    every = _by_age(folder)
    upto = every.index(final) + 1
    for other in [*every[upto:], *every[: max(upto - keep, 0)]]:
        shutil.rmtree(other, ignore_errors=True)  # the new one is safe; another that stays costs only room
    return final


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return folder / f"step-{step}"


def newest(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest whole checkpoint, on the CPU, or None before the first; and a sentence for each damaged one before it.

    Raises:
        UserError: there are checkpoints, but none is whole.
    """
    complaints: list[str] = []
    for path in reversed(_by_age(folder)):
        problem = _problem(path)
        if problem is None:
            try:
                state: dict[str, Any] = torch.load(path / STATE, map_location="cpu", weights_only=True)
                return state, complaints
            except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
                problem = f"{STATE} is not a training state: {type(error).__name__}"
        complaints.append(f"{path} is damaged ({problem})")
    if complaints:
        raise UserError(f"{'; '.join(complaints)}; no intact checkpoint is left in {folder}")
    return None, []


def latest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint, whole or not, None before the first."""
    names = [path.name.removeprefix("step-") for path in _by_age(folder)]
    return int(names[-1]) if names else None


def _problem(path: Path) -> str | None:
    """Why a checkpoint cannot be trusted, or None."""
    try:
        manifest = read_json(Manifest, path / MANIFEST)
        if (path / STATE).stat().st_size != manifest.bytes or crc32_of(path / STATE) != manifest.crc32:
            return f"the checksum of {STATE} is wrong"
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"cannot read {STATE}: {error.strerror or error}"
    return None


def _by_age(folder: Path) -> list[Path]:
    """Complete checkpoint folders, oldest step first."""
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))
