"""Signs in a run's figures that it is going wrong, or has gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnorm.errors import UserError
from attnorm.training import checkpoint
from attnorm.training.figures import Line

UPDATES = ("gradient_c", "gradient_d", "gradient_g")  # the gradient norms, one for each kind of update
MOST_SKIPPED_IN_A_ROW = 100  # steps; who never takes one has diverged
LINES = 5  # of the log in a row, before a symptom is a symptom
NO_LOSS = 0.01
ONE_ENTITY = 1.05
MOSTLY_CUT = 0.5


class Divergence:
    """Judges each line of the log: stops the run where it has diverged, and warns, once of each thing, where it may.

    Each line is first counted, then recorded, then judged, so that the log ends with the line that ended the run.
    `last_good` is the step of the checkpoint that the run started from or saved last, None without one.

    Args:
        skip: whether steps whose gradients or losses are not finite were left out, and are counted; else they are an
            error.
    """

    def __init__(self, run: Path, checkpoints: Path, *, skip: bool) -> None:
        self._run, self._checkpoints, self._skip = run, checkpoints, skip
        self.last_good: int | None = None
        self.skipped = 0  # in the whole run
        self._in_a_row = 0  # steps of whole lines without any update
        self._new = 0  # in the line that was counted last
        self._lines: dict[str, int] = {}  # in a row with a symptom, by figure
        self._told: set[str] = set()

    def count(self, line: Line) -> None:
        """Takes the skipped steps of a new line into account."""
        self._new = max((line.missing.get(name, 0) for name in UPDATES), default=0)
        self.skipped += self._new
        self._in_a_row = self._in_a_row + line.steps if self._new == line.steps else 0

    def judge(self, line: Line) -> Iterator[str]:
        """Sentences for the person about the line of the log that was counted last.

        Raises:
            UserError: a figure was not finite; with `skip`, no step was taken for whole lines, 100 steps or more.
        """
        self.stop_if_diverged(line)
        if line.missing:
            yield self._skips(line)
        yield from self._symptoms(line.means)

    def stop_if_diverged(self, line: Line) -> None:
        """Raises UserError if a figure was not finite and such steps are not to be skipped."""
        if line.missing and not self._skip:
            raise UserError(self._stopped(line))

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run stops where the undisturbed one would."""
        return {"skipped": self.skipped, "skipped_in_a_row": self._in_a_row}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes it from a checkpoint; those of earlier versions have none."""
        self.skipped, self._in_a_row = int(state.get("skipped", 0)), int(state.get("skipped_in_a_row", 0))

    def figures(self) -> dict[str, float]:
        """What the log shows of it."""
        return {"skipped_steps": self.skipped} if self._skip else {}

    def _stopped(self, line: Line) -> str:
        if line.first:
            step = min(line.first.values())
            names, when = [name for name, first in line.first.items() if first == step], f"step {step + 1}"
        else:  # before a resume
            names, when = list(line.missing), "the steps since the last line of the log"
        return (
            f"the training has diverged: {' and '.join(names)} {'are' if len(names) > 1 else 'is'} not finite in "
            f"{when}; {self._last_good()}; start again with lower learning rates, or go on from there with "
            f"on_nonfinite: skip in {self._run / 'config.yaml'}"
        )

    def _last_good(self) -> str:
        if self.last_good is None:
            return "there is no checkpoint from before"
        return f"the last good checkpoint is {checkpoint.path_of(self._checkpoints, self.last_good)}"

    def _skips(self, line: Line) -> str:
        names = ", ".join(f"{name} {count} times" for name, count in line.missing.items())
        if self._in_a_row >= MOST_SKIPPED_IN_A_ROW:
            raise UserError(
                f"the training has diverged: the last {self._in_a_row} steps were all skipped ({names} not finite); "
                f"{self._last_good()}; start again with lower learning rates"
            )
        return f"skipped {self._new} of {line.steps} steps, {self.skipped} in all: not finite were {names}"

    def _symptoms(self, means: dict[str, float]) -> Iterator[str]:
        for name, value in means.items():
            advice = _advice(name, value)
            self._lines[name] = self._lines.get(name, 0) + 1 if advice else 0
            if self._lines[name] == LINES and name not in self._told:
                self._told.add(name)
                yield f"warning: {name} has been {value:.3g} or so for {LINES} lines: {advice}"


def _advice(name: str, value: float) -> str | None:
    """What a figure's value is a symptom of, with a remedy, or None."""
    if name == "loss_d" and value < NO_LOSS:
        return (
            "the discriminator tells every picture, and the generator learns next to nothing; "
            "lower discriminator_lr, or give it more to do with --augment"
        )
    if name.endswith(".effective_entities") and value < ONE_ENTITY:
        return "one entity has taken all pixels, so the layer is an instance norm; raise orthogonal_weight"
    if name.startswith("saturated_") and value > MOSTLY_CUT:
        return "the clip to [-1, 1] cuts most values, which have no gradient; lower generator_lr"
    return None
