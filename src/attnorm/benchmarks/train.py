"""A whole training step of the class-conditional systems at equal channels: what the long-range layer adds to it.

A step is what the training loop does for one: the next batches from the prefetching thread, the updates of both
networks, the average. The systems' steps take turns. "plain" is the same step as most would write it down: float32,
NCHW and Adam as it comes.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from attnorm.benchmarks.machine import describe_machine, machine
from attnorm.benchmarks.measuring import Contestant, measure
from attnorm.benchmarks.networks import BASE, CLASSES, Networks, system_config
from attnorm.benchmarks.profiling import profile_steps
from attnorm.benchmarks.report import ratio, table
from attnorm.data.batches import Prefetcher, batch_indices
from attnorm.data.dataset import ImageDataset
from attnorm.training.class_conditional import ClassConditionalConfig, ClassConditionalTask
from attnorm.training.config import Precision
from attnorm.training.precision import resolve_device, resolve_precision

Variant = Literal["ours", "plain", "compiled"]
PICTURES = 512  # in memory: what reading costs is another benchmark
BATCHES = {32: 32, 64: 32, 128: 8}  # pictures a step
WARM_UP = 2  # steps; the first one of a compiled network compiles


@dataclass(frozen=True)
class Setting:
    """batch: pictures a step, None for `BATCHES`. profiled: systems whose steps are taken apart besides."""

    sizes: tuple[int, ...] = (32, 64, 128)
    systems: tuple[str, ...] = (BASE, "sa-gan", "an-gan")
    networks: Networks = "cpu"
    batch: int | None = None
    plain: bool = False
    compiled: bool = False
    profiled: tuple[str, ...] = ()
    precision: Precision = "auto"
    device: str = "auto"
    rounds: int = 7


class PlainAdam(torch.optim.Adam):
    """Adam as it comes. Only the fused one can be told on the device to leave out an update, so this is not told."""

    found_inf = property(lambda self: None, lambda self, value: None)


class Step:
    """The training of one system, a step a call."""

    def __init__(self, config: ClassConditionalConfig, variant: Variant) -> None:
        accelerator = Accelerator(cpu=config.device == "cpu", mixed_precision="no")
        self.task = ClassConditionalTask(config, accelerator)
        if variant == "plain":
            self._take_plain_optimizers()
        self.batches = _read_ahead(config)
        self.number = 0
        for _ in range(WARM_UP):
            self()

    def __call__(self) -> dict[str, Tensor]:
        count = self.task.batches_before(self.number + 1) - self.task.batches_before(self.number)
        figures = self.task.step(self.number, [self.batches.next() for _ in range(count)])
        self.number += 1
        return figures

    def close(self) -> None:
        self.batches.close()

    def _take_plain_optimizers(self) -> None:
        for name, optimizer in self.task.optimizers.items():
            (group,) = optimizer.param_groups
            self.task.optimizers[name] = PlainAdam(group["params"], lr=group["lr"], betas=group["betas"])


def run(setting: Setting, on_size: Callable[[dict[str, Any]], None] = lambda report: None) -> dict[str, Any]:
    """Measures every size and returns the report, which `on_size` also gets, as far as it has come, after each.

    {"benchmark", "machine", "setting", "figures": [{"size", "system", "variant", "batch", "median" (s a step),
    "memory" (MB), "images_per_second", …}], "profiles": [{"size", "system", "seconds", "shares", "operations"}]}
    """
    device = resolve_device(setting.device)
    setting = dataclasses.replace(setting, device=device.type, precision=resolve_precision(setting.precision, device))
    report: dict[str, Any] = {"benchmark": "train", "machine": machine(device)}
    report |= {"setting": dataclasses.asdict(setting), "figures": [], "profiles": []}
    for size in setting.sizes:
        print(f"measuring steps at {size} x {size} …", file=sys.stderr, flush=True)
        batch = setting.batch or BATCHES[size]
        with ExitStack() as stack:
            entered: dict[str, tuple[str, Variant, Step]] = {}
            for system, variant in _entries(setting):
                step = Step(step_config(setting, system, size, variant), variant)
                stack.callback(step.close)
                entered[f"{system} {variant}"] = (system, variant, step)
            contestants = [Contestant(name, step) for name, (_, _, step) in entered.items()]
            for figure in measure(contestants, rounds=setting.rounds, limit=float("inf"), device=device):
                system, variant, _ = entered[figure.name]
                assert figure.median is not None
                place = {"size": size, "system": system, "variant": variant, "batch": batch}
                report["figures"].append(
                    {**place, **dataclasses.asdict(figure), "images_per_second": batch / figure.median}
                )
            for system in setting.profiled:
                _, _, step = entered[f"{system} ours"]
                report["profiles"].append({"size": size, "system": system, **profile_steps(step)})
        on_size(report)
    return report


def step_config(setting: Setting, system: str, size: int, variant: Variant) -> ClassConditionalConfig:
    changes: dict[str, Any] = {"device": setting.device, "precision": setting.precision}
    changes |= {"batch_size": setting.batch or BATCHES[size], "compile": variant == "compiled"}
    if variant == "plain":
        changes |= {"precision": "float32", "channels_last": False}
    return system_config(system, size, setting.networks, **changes)


def _entries(setting: Setting) -> Iterator[tuple[str, Variant]]:
    for system in setting.systems:
        yield system, "ours"
        if setting.plain:
            yield system, "plain"
        if setting.compiled:
            yield system, "compiled"


def _read_ahead(config: ClassConditionalConfig) -> Prefetcher:
    random = np.random.default_rng(0)
    size = config.image_size
    pictures = random.integers(0, 256, (PICTURES, size, size, 3), dtype=np.uint8)
    names = tuple(str(i) for i in range(CLASSES))
    dataset = ImageDataset(pictures, random.integers(0, CLASSES, PICTURES), names)
    return Prefetcher(dataset, partial(batch_indices, PICTURES, batch_size=config.batch_size, seed=0))


def as_text(report: dict[str, Any]) -> str:
    """Tables: what a step takes at each size, beside the system without a long-range layer; where its time goes."""
    setting = report["setting"]
    parts = [
        f"{describe_machine(report['machine'])}\n{setting['networks']} networks, {setting['precision']}; "
        f"median of {setting['rounds']} rounds"
    ]
    parts += [_size_table(report, size) for size in dict.fromkeys(f["size"] for f in report["figures"])]
    if report["profiles"]:
        parts.append(_profile_table(report["profiles"]))
    return "\n\n".join(parts)


def find(report: dict[str, Any], size: int, system: str, variant: Variant = "ours") -> dict[str, Any] | None:
    """The figure of one step, None where it was not measured."""
    wanted = (size, system, variant)
    return next((f for f in report["figures"] if (f["size"], f["system"], f["variant"]) == wanted), None)


def _size_table(report: dict[str, Any], size: int) -> str:
    figures = [figure for figure in report["figures"] if figure["size"] == size]
    rows = []
    for figure in figures:
        base, plain = (find(report, size, *of) for of in ((BASE, figure["variant"]), (figure["system"], "plain")))
        rows.append(
            [
                f"{figure['system']}, {figure['variant']}",
                f"{figure['images_per_second']:.1f}",
                f"{1e3 * figure['median']:.0f}",
                _times(figure, base),
                _times(plain, figure),
                "–" if figure["memory"] is None else f"{figure['memory']:.0f}",
            ]
        )
    header = ["", "images/s", "ms a step", f"time, times {BASE}", "speed, times plain", "peak memory, MB"]
    return table(f"{size} x {size}, {figures[0]['batch']} pictures a step", header, rows)


def _times(figure: dict[str, Any] | None, base: dict[str, Any] | None) -> str:
    found = None if figure is None or base is None else ratio(figure, base)
    return "–" if found is None else f"{found:.2f}"


def _profile_table(profiles: Sequence[dict[str, Any]]) -> str:
    names = list(profiles[0]["shares"])
    rows = [
        [f"{p['system']}, {p['size']} x {p['size']}", *(f"{100 * p['shares'][name]:.1f}" for name in names)]
        for p in profiles
    ]
    return table("where the time of a step goes, %", ["", *names], rows)


def bars(report: dict[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """For `chart.save_bars`."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for figure in report["figures"]:
        panel = found.setdefault(f"training, {figure['size']} x {figure['size']}: images/s", {})
        panel.setdefault(figure["system"], {})[figure["variant"]] = figure["images_per_second"]
    return found
