"""Signs in a run's metrics that it is diverging, or has diverged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attnorm.errors import UserError
from attnorm.training import checkpoint
from attnorm.training.run_folder import CHECKPOINTS
from attnorm.training.running_metrics import Line

LINES = 5  # of the log in a row, before a symptom counts


class Divergence:
    """Judges each line of the log: stops a run that has diverged, and warns, once per symptom, where it may."""

    def __init__(self, run: Path) -> None:
        self._checkpoints = run / CHECKPOINTS
        self.last_good: int | None = None  # the step of the checkpoint that was loaded or saved last
        self._lines: dict[str, int] = {}  # in a row with a symptom, by metric

    def stop_if_diverged(self, line: Line) -> None:
        """Raises UserError, naming the step, if a metric was not finite."""
        if not line.not_finite:
            return
        step = min(line.not_finite.values())
        names = ", ".join(name for name, first in line.not_finite.items() if first == step)
        good = "there is no checkpoint from before"
        if self.last_good is not None:
            good = f"the last good checkpoint is {checkpoint.path_of(self._checkpoints, self.last_good)}"
        raise UserError(
            f"training has diverged: {names} not finite in step {step + 1}; {good}; start again with lower "
            "learning rates"
        )

    def warnings(self, line: Line) -> Iterator[str]:
        """Messages for the user about symptoms that have lasted."""
        for name, value in line.means.items():
            advice = _advice(name, value)
            self._lines[name] = self._lines.get(name, 0) + 1 if advice else 0
            if self._lines[name] == LINES:
                yield f"warning: {name} has been about {value:.3g} for {LINES} lines: {advice}"


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
