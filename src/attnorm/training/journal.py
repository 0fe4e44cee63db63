"""What a run says while it works: a progress bar or plain lines, log.jsonl always, TensorBoard by option."""

from __future__ import annotations

import json
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from attnorm.errors import UserError
from attnorm.files import check_regular, sync_file, written_aside
from attnorm.metrics.records import with_nulls
from attnorm.training.log_lines import EVALUATIONS, LOG, parse_line


def resume_command(run: Path) -> str:
    """What goes on with a run, to be typed into a shell."""
    return f"attnorm resume {shlex.quote(str(run))}"


class Journal:
    """Records figures by step and shows the rate and the time left; use it as a context manager.

    Raises:
        UserError: from any method, if the run's folder cannot be written.
    """

    def __init__(self, run: Path, *, start: int, steps: int, batch_size: int, tensorboard: bool, speak: bool) -> None:
        """`speak` is False on all processes but the first, which then record nothing."""
        self._speak, self._steps, self._batch_size = speak, steps, batch_size
        self._console = Console(quiet=not speak, highlight=False)
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (speak and self._console.is_terminal),
        )
        self._bar = self._progress.add_task("", total=steps, completed=start, figures="")
        self._clock, self._last_step = time.perf_counter(), start
        self._run, self._metrics = run, run / EVALUATIONS
        self._log: TextIO | None = None
        self._board: Any = None
        self._hook: Callable[[Any], object] | None = None
        if speak:
            with self._writing():
                self._log = _continued(run / LOG, start)
                _cut(self._metrics, start)
                if tensorboard:
                    from torch.utils.tensorboard import SummaryWriter

                    self._hook, threading.excepthook = threading.excepthook, self._thread_failed
                    try:
                        self._board = SummaryWriter(run / "tensorboard", purge_step=start + 1)
                    except BaseException:
                        threading.excepthook = self._hook
                        raise

    def __enter__(self) -> Journal:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._progress.stop()
        try:
            with self._writing():
                for sink in (self._log, self._board):
                    if sink is not None:
                        sink.close()
        except UserError:
            if kind is None:  # else what went wrong before says more
                raise
        finally:
            if self._hook is not None:
                threading.excepthook = self._hook

    def advance(self, step: int) -> None:
        """Moves the bar; `step` steps are done."""
        self._progress.update(self._bar, completed=step)

    def record(self, step: int, figures: dict[str, float]) -> None:
        """Writes the figures of `step` with the rate since the last record."""
        now = time.perf_counter()
        rate = (step - self._last_step) / max(now - self._clock, 1e-9)
        self._clock, self._last_step = now, step
        figures = {**figures, "steps_per_second": rate, "images_per_second": rate * self._batch_size}
        with self._writing():
            self._write(self._log, step, figures)
        self._show(step, figures)

    def record_evaluation(self, step: int, figures: dict[str, float]) -> None:
        """Writes what an evaluation after `step` steps found; the time it took does not count as training."""
        if self._speak:
            with self._writing(), self._metrics.open("a", encoding="utf-8") as file:
                self._write(file, step, figures)
        self.say(f"evaluated at step {step}: " + "  ".join(f"{name} {value:.4g}" for name, value in figures.items()))
        self._clock, self._last_step = time.perf_counter(), step

    def sync(self) -> None:
        """Makes all lines durable, so that no checkpoint is without those before it."""
        with self._writing():
            for path in (self._run / LOG, self._metrics):
                if path.exists():
                    sync_file(path)

    def say(self, sentence: str) -> None:
        """A line for the person, above the progress bar."""
        self._console.print(sentence, soft_wrap=True, markup=False)

    def _thread_failed(self, failure: Any) -> None:
        """For TensorBoard's thread, whose error the next write or the end raises again: its traceback is not shown."""
        if self._hook is not None and not (
            isinstance(failure.exc_value, OSError) and type(failure.thread).__module__.startswith("tensorboard.")
        ):
            self._hook(failure)

    def _write(self, file: TextIO | None, step: int, figures: dict[str, float]) -> None:
        if file is not None:
            line = {"step": step, "time": time.time(), **figures}
            file.write(json.dumps(with_nulls(line), allow_nan=False) + "\n")
            file.flush()
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write the log in {self._run} ({error.strerror or error}): make room, or make the folder "
                f"writable, then go on with: {resume_command(self._run)}"
            ) from error

    def _show(self, step: int, figures: dict[str, float]) -> None:
        rate = figures["steps_per_second"]
        short = "  ".join(f"{name} {value:.3g}" for name, value in figures.items() if name != "steps_per_second")
        self._progress.update(self._bar, figures=short)
        if self._progress.disable:
            left = (self._steps - step) / max(rate, 1e-9)
            self.say(f"step {step}/{self._steps}  {short}  {left / 60:.1f} min left")


def _continued(path: Path, start: int) -> TextIO:
    """The log, open for more, without the lines of steps after `start`."""
    _cut(path, start)
    return path.open("a", encoding="utf-8")


def _cut(path: Path, start: int) -> None:
    """Removes the lines of steps after `start`, which a resumed run does again, and those that cannot be read."""
    if path.exists():
        check_regular(path)
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if (parsed := parse_line(line)) is not None and parsed.step <= start]
        if kept != lines:
            with written_aside(path) as aside:
                aside.write_bytes(b"".join(kept))
