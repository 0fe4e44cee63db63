"""Signs in a run's metrics that it is diverging, or has diverged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnorm.errors import UserError
from attnorm.training import checkpoint
from attnorm.training.run_folder import CHECKPOINTS, CONFIG
from attnorm.training.running_metrics import Line

UPDATES = ("gradient_c", "gradient_d", "gradient_g")  # the gradient norms, one for each kind of update
MOST_SKIPPED_IN_A_ROW = 100  # steps; a run that never takes one has diverged
LINES = 5  # of the log in a row, before a symptom counts


class Divergence:
    """Judges each line of the log: stops the run where it has diverged, and warns, once per symptom, where it may.

    Each line is first counted, then recorded, then judged, so that the log ends with the line that ended the run.

    Args:
        skip: whether steps whose gradients or losses are not finite are left out and counted; else they are an error.
    """

    def __init__(self, run: Path, *, skip: bool) -> None:
        self._run, self._skip = run, skip
        self.last_good: int | None = None  # the step of the checkpoint that was loaded or saved last
        self.skipped = 0  # in the whole run
        self._in_a_row = 0  # steps of whole lines without any update
        self._new = 0  # in the line that was counted last
        self._lines: dict[str, int] = {}  # in a row with a symptom, by metric

    def count(self, line: Line) -> dict[str, float]:
        """Takes the skipped steps of a new line into account; returns what the log shows of them."""
        self._new = max((line.missing.get(name, 0) for name in UPDATES), default=0)
        self.skipped += self._new
        self._in_a_row = self._in_a_row + line.steps if self._new == line.steps else 0
        return {"skipped_steps": self.skipped} if self._skip else {}

    def judge(self, line: Line) -> Iterator[str]:
        """Messages for the user about the line that was counted last.

        Raises:
            UserError: a metric was not finite; with `skip`, no step was taken for whole lines, 100 steps or more.
        """
        self.stop_if_diverged(line)
        if line.missing:
            names = ", ".join(f"{name} ({count} times)" for name, count in line.missing.items())
            if self._in_a_row >= MOST_SKIPPED_IN_A_ROW:
                raise UserError(
                    f"training has diverged: the last {self._in_a_row} steps were all skipped, not finite: {names}; "
                    f"{self._last_good()}; start again with lower learning rates"
                )
            yield f"skipped {self._new} of {line.steps} steps, {self.skipped} in all; not finite: {names}"
        for name, value in line.means.items():
            advice = _advice(name, value)
            self._lines[name] = self._lines.get(name, 0) + 1 if advice else 0
            if self._lines[name] == LINES:
                yield f"warning: {name} has been about {value:.3g} for {LINES} lines: {advice}"

    def stop_if_diverged(self, line: Line) -> None:
        """Raises UserError if a metric was not finite and such steps are not to be skipped."""
        if not line.missing or self._skip:
            return
        when, names = "since the last line of the log", list(line.missing)
        if line.first:  # unknown for steps before a resume
            step = min(line.first.values())
            when, names = f"in step {step + 1}", [name for name, first in line.first.items() if first == step]
        raise UserError(
            f"training has diverged: not finite {when}: {', '.join(names)}; {self._last_good()}; start again with "
            f"lower learning rates, or set on_nonfinite: skip in {self._run / CONFIG} and resume"
        )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run stops where the undisturbed one would."""
        return {"skipped": self.skipped, "skipped_in_a_row": self._in_a_row}

    def load_state(self, state: dict[str, Any]) -> None:
        self.skipped, self._in_a_row = state["skipped"], state["skipped_in_a_row"]

    def _last_good(self) -> str:
        if self.last_good is None:
            return "there is no checkpoint from before"
        return f"the last good checkpoint is {checkpoint.path_of(self._run / CHECKPOINTS, self.last_good)}"


def _advice(name: str, value: float) -> str | None:
    """What to do about a metric's value, if it is a symptom."""
    if name == "loss_d" and value < 0.01:
        return (
            "the discriminator recognises every image and the generator learns next to nothing; lower "
            "discriminator_lr, or augment with --augment color translation cutout"
        )
    if name.endswith(".effective_entities") and value < 1.05:
        return "one entity has taken all pixels, so the layer is an instance norm; raise orthogonal_weight"
    if name.startswith("saturated_") and value > 0.5:
        return "the clip to [-1, 1] cuts most values, which then have no gradient; lower generator_lr"
    return None
