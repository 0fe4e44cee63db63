"""When inpainting goes from its first phase, reconstruction only, to its second, with the adversarial loss."""

from __future__ import annotations

import math
from typing import Any

from pydantic import Field

from attnorm.config import Frozen


class PhaseConfig(Frozen):
    """The end of the first phase, which the paper calls convergence.

    at_step: after so many steps, whatever was measured; None leaves it to the validation error.
    improvement, patience: phase 1 ends once the validation error has not fallen by this share in so many evaluations.
    lr_scale: the generator's learning rate in phase 2, as a share of `generator_lr`.
    """

    at_step: int | None = Field(None, ge=0)
    improvement: float = Field(0.01, ge=0, lt=1)
    patience: int = Field(5, ge=1)
    lr_scale: float = Field(1.0, ge=0)


class Phases:
    """Which phase a step belongs to. A function of the validation errors alone, which all processes share."""

    def __init__(self, config: PhaseConfig) -> None:
        self.config = config
        self.switched_at = config.at_step  # steps of phase 1; None while it goes on
        self._mark, self._waited = math.inf, 0

    def is_adversarial(self, step: int) -> bool:
        """Whether step `step`, counted from 0, has the adversarial loss."""
        return self.switched_at is not None and step >= self.switched_at

    def reconstruction_steps(self, step: int) -> int:
        """How many of the first `step` steps belong to phase 1."""
        return step if self.switched_at is None else min(step, self.switched_at)

    def progress(self, step: int, steps: int) -> tuple[int, int]:
        """How many steps of its phase are done before step `step`, and the phase's length in a run of `steps` steps.

        A phase 1 whose end is not known has not begun to end: 0 of its steps are done.
        """
        if self.switched_at is not None and step >= self.switched_at:
            return step - self.switched_at, steps - self.switched_at
        return (0, 1) if self.config.at_step is None else (step, self.config.at_step)

    def observe(self, step: int, error: float) -> bool:
        """Takes the validation error after `step` steps; whether it ends phase 1.

        The error is compared with the last one that was a clear improvement, not with the last one: so many small
        steps in one direction count as a large one.
        """
        if self.switched_at is not None:
            return False
        if error < self._mark * (1 - self.config.improvement):
            self._mark, self._waited = error, 0
            return False
        self._waited += 1
        if self._waited < self.config.patience:
            return False
        self.switched_at = step
        return True

    def state(self) -> dict[str, Any]:
        return {"switched_at": self.switched_at, "mark": self._mark, "waited": self._waited}

    def load_state(self, state: dict[str, Any]) -> None:
        self.switched_at, self._mark, self._waited = state["switched_at"], state["mark"], state["waited"]
