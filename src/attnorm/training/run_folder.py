"""The folder of a run: the names in it, what a new run may find there, and what a killed one leaves behind."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from attnorm.errors import UserError
from attnorm.files import check_folder, put_back
from attnorm.training import checkpoint
from attnorm.training.journal import resume_command
from attnorm.training.run_lock import LOCK

CONFIG, CHECKPOINTS, SAMPLES, MODEL = "config.yaml", "checkpoints", "samples", "model"
BEST, BEST_OF_PHASE_1 = "best", "best-phase-1"  # of the phase that the run is in; and of phase 1, once it is over too
SAVED = (MODEL, BEST, BEST_OF_PHASE_1)  # folders with a saved model
PREPARED = "prepared-data"
RECORDS = "metrics"  # of `attnorm evaluate`
# What a start that came to nothing may leave in the run's folder: pictures, where that is the working folder, and a
# configuration whose writing was killed.
HALF_A_START = (f"{CONFIG}.partial-*",)
BEFORE_A_RUN = (PREPARED, LOCK, *HALF_A_START)
LEFTOVERS = (".*.partial", "*.partial-*", f"{CHECKPOINTS}/.*.partial", f"{SAMPLES}/*.partial-*")


def check_new(run: Path) -> None:
    """Refuses a folder that a new run must not write to."""
    try:
        str(run).encode()
    except UnicodeEncodeError as error:  # safetensors would write there, and not find it again
        raise UserError(f"weights cannot be kept in {run}, a name that is not UTF-8: choose another --out") from error
    if (run / CONFIG).exists():
        raise UserError(f"{run} holds a run already: go on with `{resume_command(run)}`, or choose another --out")
    if checkpoint.latest_step(run / CHECKPOINTS) is not None:  # they would be taken for the new run's
        raise UserError(
            f"{run} holds the checkpoints of a run, but not its {CONFIG}: restore that, remove {run / CHECKPOINTS}, "
            "or choose another --out"
        )
    check_folder(run)
    try:
        found = sorted(run.iterdir()) if run.exists() else []
    except OSError as error:
        raise UserError(f"cannot read {run} ({error.strerror}): choose another --out") from error
    others = [path.name for path in found if not any(map(path.match, BEFORE_A_RUN))]
    if others:  # a run replaces and removes files of its own names: they must not be someone's
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UserError(
            f"{run} is not empty ({others[0]}{more}): a run writes and removes files there, so choose a new or empty "
            "folder for --out"
        )


def clear_leftovers(run: Path, patterns: Sequence[str]) -> None:
    """Removes what a killed process was writing when it was killed, and puts back what it had moved away."""
    try:
        for name in SAVED:
            put_back((run / name).resolve())
        for pattern in patterns:
            for path in run.glob(pattern):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot clear away what a killed process has left in {run} ({error.strerror or error}): make the folder "
            f"writable, then go on with: {resume_command(run)}"
        ) from error
