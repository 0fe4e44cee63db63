"""A run's metrics between two lines of its log: their means, and where one of them was not finite.

Everything stays on the device until a line is due: fetching metrics at each step would make each step wait for the
device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from attnorm.metrics.distributed import Processes

_NEVER = float("inf")


class Line(NamedTuple):
    """The metrics since the last line of the log, over all processes.

    Args:
        steps: how many steps it covers.
        means: of the finite values by name; a name without any is left out.
        missing: in how many steps a metric was not finite; with several processes, in that with the most.
        first: the step, counted from 0, where that happened first since the last resume.
    """

    steps: int
    means: dict[str, float]
    missing: dict[str, int]
    first: dict[str, int]


@dataclass
class _Group:
    """Metrics that came together, (k,) each: sums, numbers of finite values, first steps that were not; and steps."""

    sums: Tensor
    counts: Tensor
    firsts: Tensor
    steps: int = 0


class RunningMetrics:
    """Sums of metrics by name. Steps may have different ones, as the phases of inpainting do."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._groups: dict[tuple[str, ...], _Group] = {}

    def add(self, step: int, metrics: Mapping[str, Tensor]) -> None:
        """Takes the metrics, scalars on the device, of step `step` (counted from 0)."""
        values = torch.stack([value.detach().float() for value in metrics.values()])
        group = self._group(tuple(metrics))
        finite = values.isfinite()
        group.sums += torch.where(finite, values, 0)
        group.counts += finite
        group.firsts = torch.minimum(group.firsts, torch.where(finite, _NEVER, float(step)))
        group.steps += 1

    def line(self) -> Line:
        """The metrics so far. All processes must call it together, and all get the same."""
        total, first, missing = dict[str, list[float]](), dict[str, int](), dict[str, int]()
        for names, group in self._groups.items():
            sums = self._processes.all_reduce(torch.stack([group.sums.double(), group.counts.double()]))
            least = torch.stack([group.counts.double(), group.firsts.double()])
            least = self._processes.all_reduce(least, distributed.ReduceOp.MIN)
            for name, (value, count), (fewest, step) in zip(names, sums.T.tolist(), least.T.tolist(), strict=True):
                known = total.setdefault(name, [0.0, 0.0])
                known[0], known[1] = known[0] + value, known[1] + count
                if lost := group.steps - int(fewest):
                    missing[name] = missing.get(name, 0) + lost
                if step != _NEVER:
                    first[name] = min(int(step), first.get(name, int(step)))
        means = {name: value / count for name, (value, count) in total.items() if count}
        return Line(sum(group.steps for group in self._groups.values()), means, missing, first)

    def clear(self) -> None:
        self._groups.clear()

    def state(self) -> list[dict[str, Any]]:
        """What a checkpoint keeps, so that a resumed run's next line is that of the undisturbed one: the mean over the
        processes, from which any number of them can continue. All processes must call it together.
        """
        found = []
        for names, group in self._groups.items():
            sums = self._processes.all_reduce(torch.stack([group.sums, group.counts])) / self._processes.count
            found.append({"names": list(names), "sums": sums, "steps": group.steps})
        return found

    def load_state(self, state: list[dict[str, Any]]) -> None:
        for entry in state:
            group = self._group(tuple(entry["names"]))
            group.sums, group.counts = entry["sums"].to(self._processes.device).clone().unbind()
            group.steps = entry["steps"]

    def _group(self, names: tuple[str, ...]) -> _Group:
        if names not in self._groups:
            zeros = torch.zeros(len(names), device=self._processes.device)
            self._groups[names] = _Group(zeros, zeros.clone(), zeros + _NEVER)
        return self._groups[names]
