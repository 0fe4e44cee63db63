"""Means of a run's metrics between two lines of its log, and the first step in which one was not finite.

Metrics stay on the device until a line is written, because fetching them would synchronize every step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from attnorm.errors import UserError
from attnorm.metrics.distributed import Processes

_NEVER = float("inf")


@dataclass
class _Group:
    """Metrics of the same steps: their sums and first non-finite steps, (k,) each, and the number of steps."""

    sums: Tensor
    firsts: Tensor
    steps: int = 0


class RunningMetrics:
    """Sums of metrics by name. Steps may have different metrics, as in the phases of inpainting."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._groups: dict[tuple[str, ...], _Group] = {}

    def add(self, step: int, metrics: Mapping[str, Tensor]) -> None:
        """Adds the metrics, scalars on the device, of step `step` (counted from 0)."""
        values = torch.stack([value.detach().float() for value in metrics.values()])
        group = self._group(tuple(metrics))
        group.sums += values
        group.firsts = torch.minimum(group.firsts, torch.where(values.isfinite(), _NEVER, float(step)))
        group.steps += 1

    def line(self) -> tuple[dict[str, float], dict[str, int]]:
        """Means over steps and processes, and the first step (from 0) in which a metric was not finite, by its name.

        All processes must call it together, and get the same result.
        """
        total, not_finite = dict[str, tuple[float, int]](), dict[str, int]()
        for names, group in self._groups.items():
            sums = self._processes.all_reduce(group.sums.clone()).tolist()
            firsts = self._processes.all_reduce(group.firsts.clone(), distributed.ReduceOp.MIN).tolist()
            for name, value, step in zip(names, sums, firsts, strict=True):
                before, count = total.get(name, (0.0, 0))
                total[name] = before + value, count + group.steps * self._processes.count
                if step != _NEVER:
                    not_finite[name] = min(int(step), not_finite.get(name, int(step)))
        return {name: value / count for name, (value, count) in total.items()}, not_finite

    def clear(self) -> None:
        self._groups.clear()

    def state(self) -> list[dict[str, Any]]:
        """The means over all processes, from which any number of processes can continue. All must call it together."""
        state = []
        for names, group in self._groups.items():
            sums = self._processes.all_reduce(group.sums.clone()) / self._processes.count
            state.append({"names": list(names), "sums": sums, "steps": group.steps})
        return state

    def load_state(self, state: list[dict[str, Any]]) -> None:
        for entry in state:
            group = self._group(tuple(entry["names"]))
            group.sums, group.steps = entry["sums"].to(self._processes.device).clone(), entry["steps"]

    def _group(self, names: tuple[str, ...]) -> _Group:
        if names not in self._groups:
            zeros = torch.zeros(len(names), device=self._processes.device)
            self._groups[names] = _Group(zeros, zeros + _NEVER)
        return self._groups[names]


def stop_if_diverged(not_finite: Mapping[str, int], good: Path | None) -> None:
    """Raises UserError, naming the step, if a metric was not finite; `good` is the newest checkpoint."""
    if not_finite:
        step = min(not_finite.values())
        names = ", ".join(name for name, first in not_finite.items() if first == step)
        before = f"the last good checkpoint is {good}" if good else "there is no checkpoint from before"
        what = f"training has diverged: {names} not finite in step {step + 1}"
        raise UserError(f"{what}; {before}; start again with lower learning rates")
