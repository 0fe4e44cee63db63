"""A run's figures between two lines of its log: their means, and where one of them was not a finite number.

Everything stays on the device until a line is due: fetching figures each step would make each step wait for the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, distributed

_NEVER = float("inf")


class Line(NamedTuple):
    """What the figures were since the last line, over all processes.

    steps: how many. means: of the finite values; a name without any is left out. missing: in how many steps a figure
    was not finite, if in any; with several processes, in that with the most. first: the step (counted from 0) where
    that happened first, since the last resume.
    """

    steps: int
    means: dict[str, float]
    missing: dict[str, int]
    first: dict[str, int]


@dataclass
class _Group:
    """Figures that came together: their sums, numbers of finite values and first steps with another, (k,) each."""

    sums: Tensor
    counts: Tensor
    firsts: Tensor


class FigureSums:
    """Sums of figures by name. Steps may have different ones, as the phases of a training do."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._steps: dict[tuple[str, ...], int] = {}

    def add(self, step: int, figures: Mapping[str, Tensor]) -> None:
        """Takes the figures, scalars on the device, of step `step` (counted from 0)."""
        names = tuple(figures)
        values = torch.stack([value.detach().float() for value in figures.values()])
        group = self._group(names)
        finite = values.isfinite()
        group.sums += torch.where(finite, values, 0)
        group.counts += finite
        group.firsts = torch.minimum(group.firsts, torch.where(finite, _NEVER, float(step)))
        self._steps[names] += 1

    def line(self, accelerator: Accelerator) -> Line:
        """The figures so far. All processes must call it together, and all get the same."""
        total, first, missing = dict[str, list[float]](), dict[str, int](), dict[str, int]()
        for names, group in self._groups.items():
            sums = torch.stack([group.sums.double(), group.counts.double()])
            least = torch.stack([group.counts.double(), group.firsts.double()])
            if accelerator.num_processes > 1:
                distributed.all_reduce(sums)
                distributed.all_reduce(least, distributed.ReduceOp.MIN)
            for name, (value, count), (fewest, step) in zip(names, sums.T.tolist(), least.T.tolist(), strict=True):
                known = total.setdefault(name, [0.0, 0.0])
                known[0], known[1] = known[0] + value, known[1] + count
                lost = self._steps[names] - int(fewest)
                if lost:
                    missing[name] = missing.get(name, 0) + lost
                if step != _NEVER:
                    first[name] = min(int(step), first.get(name, int(step)))
        means = {name: value / count for name, (value, count) in total.items() if count}
        return Line(sum(self._steps.values()), means, missing, first)

    def clear(self) -> None:
        self._groups.clear()
        self._steps.clear()

    def state(self, accelerator: Accelerator) -> list[dict[str, Any]]:
        """What a checkpoint keeps, so that a resumed run's next line is that of the undisturbed one: the mean over the
        processes, which any number of them can go on from. All processes must call it together.
        """
        found = []
        for names, group in self._groups.items():
            sums = torch.stack([group.sums, group.counts])
            if accelerator.num_processes > 1:
                distributed.all_reduce(sums)
                sums /= accelerator.num_processes
            found.append({"names": list(names), "sums": sums, "steps": self._steps[names]})
        return found

    def load_state(self, state: list[dict[str, Any]]) -> None:
        for entry in state:
            names = tuple(entry["names"])
            group = self._group(names)
            group.sums, group.counts = entry["sums"].to(self._device).clone().unbind()
            self._steps[names] = entry["steps"]

    def _group(self, names: tuple[str, ...]) -> _Group:
        if names not in self._groups:
            zeros = torch.zeros(len(names), device=self._device)
            self._groups[names] = _Group(zeros, zeros.clone(), zeros + _NEVER)
            self._steps[names] = 0
        return self._groups[names]
