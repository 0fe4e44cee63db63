"""The folder of a run: its file names, checks for a new run, and cleaning up after a killed one."""

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from attnorm.errors import UserError
from attnorm.files import check_folder, explained, put_back

CONFIG, CHECKPOINTS, SAMPLES, MODEL = "config.yaml", "checkpoints", "samples", "model"
BEST, BEST_OF_PHASE_1 = "best", "best-phase-1"  # of the current phase; and of phase 1, kept afterwards
SAVED = (MODEL, BEST, BEST_OF_PHASE_1)  # folders with a saved model
LOG, EVALUATIONS, LOCK = "log.jsonl", "metrics.jsonl", ".lock"
RECORDS = "metrics"  # from `attnorm evaluate`
PREPARED = "prepared-data"  # beside the runs, shared by them
LEFT_BY_A_START = (LOCK, PREPARED, f"{CONFIG}.partial-*")  # left by a run that was killed before it wrote config.yaml
PARTIAL = (".*.partial", "*.partial-*")  # files being written; left by a killed process


def resume_command(run: Path) -> str:
    """The shell command that continues a run."""
    return f"attnorm resume {shlex.quote(str(run))}"


def check_new(run: Path) -> None:
    """Raises a UserError if a new run must not write to this folder: runs replace and remove files."""
    if (run / CONFIG).exists():
        raise UserError(f"{run} already has a run: continue it with `{resume_command(run)}`, or choose another --out")
    check_folder(run)
    found = sorted(run.iterdir()) if run.exists() else []
    others = [path.name for path in found if not any(map(path.match, LEFT_BY_A_START))]
    if others:
        raise UserError(f"{run} is not empty (it has {others[0]}): choose a new or empty folder for --out")


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """A context in which no other process can train in the run's folder, which is created if needed."""
    lock = FileLock(run / LOCK, timeout=0)
    with explained(f"cannot write {run}", "choose a writable folder"):
        run.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            what = f"{run} is being trained by another process"
            raise UserError(f"{what}: wait until it ends, or stop it first") from error
    try:
        yield
    finally:
        lock.release()


def remove_partial_files(run: Path) -> None:
    """Removes partial files of a killed process, and restores a model folder that it had moved away."""
    for name in SAVED:
        put_back((run / name).resolve())
    for folder in (run, run / CHECKPOINTS, run / SAMPLES):
        for path in (path for pattern in PARTIAL for path in folder.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
