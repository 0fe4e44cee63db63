"""Reports of a run: a progress bar or plain lines, log.jsonl, metrics.jsonl, and TensorBoard or another tracker."""

import fnmatch
import importlib
import json
import math
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from attnorm.config import read_yaml
from attnorm.files import explained, sync_file, written_aside
from attnorm.training.config import TrainingConfig
from attnorm.training.run_folder import CONFIG, EVALUATIONS, LOG, resume_command

SMALLEST_BAR = 8  # columns of the terminal
TRACKER_ID = "tracker-id"  # in the run's folder


def read_log(path: Path) -> dict[int, dict[str, float]]:
    """The metrics of a log by step; NaN for values that were not finite. An incomplete last line is ignored."""
    found: dict[int, dict[str, float]] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            metrics = {name: math.nan if value is None else value for name, value in json.loads(line).items()}
            metrics.pop("time")
            found.setdefault(int(metrics.pop("step")), {}).update(metrics)
    return found


class Logger:
    """Records metrics by step and shows progress; use it as a context manager.

    Args:
        start: the steps completed before this process.
        shown: patterns of the metrics in the progress bar, the most important first; each shows its first match.
        enabled: whether to record and print; true in the main process only.
    """

    def __init__(
        self, run: Path, config: TrainingConfig, start: int, shown: Sequence[str] = (), *, enabled: bool = True
    ) -> None:
        self._run, self._steps, self._batch_size = run, config.steps, config.batch_size
        self._shown, self._enabled = shown, enabled
        self._console = Console(quiet=not enabled, highlight=False)
        self._progress = Progress(
            TextColumn("step {task.completed}/{task.total}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[status]}", table_column=Column(no_wrap=True)),
            console=self._console,
            disable=not self._console.is_terminal,
            expand=True,
            transient=True,
        )
        self._bar = self._progress.add_task("", total=config.steps, completed=start, status="starting")
        self._metrics: dict[str, float] = {}
        self._clock, self._last_step = time.perf_counter(), start
        with self._writing():
            for name in (LOG, EVALUATIONS) if enabled else ():
                _drop_steps_after(run / name, start)
            self._track, self._finish = _tracker(config.log_to if enabled else "none", run, start)

    def __enter__(self) -> "Logger":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
        with self._writing():
            self._finish()

    def advance(self, step: int) -> None:
        """Moves the progress bar to `step` completed steps."""
        self._progress.update(self._bar, completed=step)
        if speed := self._progress.tasks[0].speed:
            parts = self._status(speed, step)
            room = self._console.width - len(f"step {step}/{self._steps}") - SMALLEST_BAR - 2
            while len(parts) > 1 and len("  ".join(parts)) > room:
                parts.pop()
            self._progress.update(self._bar, status="  ".join(parts))

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Writes the metrics of `step`, and the rate since the last record."""
        now = time.perf_counter()
        rate = (step - self._last_step) / max(now - self._clock, 1e-9)
        self._clock, self._last_step, self._metrics = now, step, metrics
        self._write(LOG, step, {**metrics, "steps_per_second": rate, "images_per_second": rate * self._batch_size})
        if self._progress.disable:
            self.print("  ".join([f"step {step}/{self._steps}", *self._status(rate, step)]))

    def record_evaluation(self, step: int, metrics: dict[str, float]) -> None:
        """Writes the metrics of an evaluation. Its duration is excluded from the rate."""
        self._write(EVALUATIONS, step, metrics)
        values = "  ".join(f"{name} {value:.4g}" for name, value in list(metrics.items())[:4])
        self.print(f"evaluated at step {step}: {values}")
        self._clock, self._last_step = time.perf_counter(), step

    def sync(self) -> None:
        """Syncs all lines to the disk; called before a checkpoint is written."""
        with self._writing():
            for path in (self._run / LOG, self._run / EVALUATIONS):
                if path.exists():
                    sync_file(path)

    def print(self, line: str) -> None:
        """Prints a line above the progress bar."""
        self._console.print(line, soft_wrap=True, markup=False)

    def _status(self, steps_per_second: float, step: int) -> list[str]:
        """Time left, rate and metrics of the last record, as short texts."""
        left = timedelta(seconds=round((self._steps - step) / max(steps_per_second, 1e-9)))
        images = steps_per_second * self._batch_size
        names = [name for pattern in self._shown for name in fnmatch.filter(self._metrics, pattern)[:1]]
        metrics = [f"{name.split('.')[-1]} {self._metrics[name]:.3g}" for name in names]
        return [f"{left} left", f"{images:.0f} images/s" if images >= 10 else f"{images:.2g} images/s", *metrics]

    def _write(self, name: str, step: int, metrics: dict[str, float]) -> None:
        if not self._enabled:
            return
        finite = {key: value if math.isfinite(value) else None for key, value in metrics.items()}
        with self._writing():
            with (self._run / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "time": time.time(), **finite}) + "\n")
            self._track(metrics, step)

    def _writing(self) -> AbstractContextManager[None]:
        remedy = f"free some space or make the folder writable, then continue with: {resume_command(self._run)}"
        return explained(f"cannot write the log in {self._run}", remedy)


def _tracker(name: str, run: Path, start: int) -> tuple[Callable[[dict[str, float], int], None], Callable[[], None]]:
    """Functions that record metrics at a step and that close the tracker, whose package is imported here."""
    if name == "none":
        return lambda metrics, step: None, lambda: None
    if name == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        board = SummaryWriter(run / "tensorboard", purge_step=start + 1)

        def add_scalars(metrics: dict[str, float], step: int) -> None:
            for key, value in metrics.items():
                board.add_scalar(key, value, step)

        return add_scalars, board.close
    tracker = importlib.import_module(name)
    identity = run / TRACKER_ID  # a resumed run continues the same run of the tracker
    if not identity.exists():
        identity.write_text(uuid.uuid4().hex[:8])
    own = identity.read_text()
    options = {"id": own, "dir": str(run)} if name == "wandb" else {}
    title, config = f"{run.name}-{own}", read_yaml(run / CONFIG)
    tracker.init(project="attnorm", name=title, config=config, resume="allow", **options)
    return lambda metrics, step: tracker.log(metrics, step=step), tracker.finish


def _drop_steps_after(path: Path, start: int) -> None:
    """Removes lines of steps after `start`, which a resumed run repeats, and an incomplete last line."""
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= start]
        if kept != lines:
            with written_aside(path) as aside:
                aside.write_bytes(b"".join(kept))
