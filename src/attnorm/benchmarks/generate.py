"""How fast generators of equal channels draw pictures: `ClassConditionalPipeline`, by batch size."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from attnorm.benchmarks.machine import describe_machine, machine
from attnorm.benchmarks.measuring import Contestant, measure
from attnorm.benchmarks.networks import BASE, Networks, system_config
from attnorm.benchmarks.report import ratio, table
from attnorm.models.class_conditional import Generator
from attnorm.pipelines import ClassConditionalPipeline


@dataclass(frozen=True)
class Setting:
    sizes: tuple[int, ...] = (32, 64, 128)
    systems: tuple[str, ...] = (BASE, "sa-gan", "an-gan")
    batches: tuple[int, ...] = (1, 8, 32)
    networks: Networks = "cpu"
    device: str = "cpu"
    rounds: int = 9


def run(setting: Setting, on_size: Callable[[dict[str, Any]], None] = lambda report: None) -> dict[str, Any]:
    """Measures every size and returns the report, which `on_size` also gets, as far as it has come, after each.

    {"benchmark", "machine", "setting", "figures": [{"size", "system", "batch", "median" (s a batch), "memory" (MB),
    "images_per_second", …}]}
    """
    device = torch.device(setting.device)
    report: dict[str, Any] = {"benchmark": "generate", "machine": machine(device)}
    report |= {"setting": dataclasses.asdict(setting), "figures": []}
    for size in setting.sizes:
        print(f"measuring pictures of {size} x {size} …", file=sys.stderr, flush=True)
        pipelines = {system: _pipeline(setting, system, size) for system in setting.systems}
        for batch in setting.batches:
            contestants = [
                Contestant(system, partial(pipeline.draw, None, batch)) for system, pipeline in pipelines.items()
            ]
            for figure in measure(contestants, rounds=setting.rounds, limit=float("inf"), device=device):
                assert figure.median is not None
                place = {"size": size, "system": figure.name, "batch": batch}
                rate = {"images_per_second": batch / figure.median}
                report["figures"].append({**place, **dataclasses.asdict(figure), **rate})
        on_size(report)
    return report


def _pipeline(setting: Setting, system: str, size: int) -> ClassConditionalPipeline:
    """With random weights: what they are does not change the time."""
    torch.manual_seed(0)
    config = system_config(system, size, setting.networks)
    return ClassConditionalPipeline(Generator(config.generator).to(setting.device))


def as_text(report: dict[str, Any]) -> str:
    """A table a size: images/s by batch size, with the time beside that of the system without a long-range layer."""
    setting, figures = report["setting"], report["figures"]
    parts = [
        f"{describe_machine(report['machine'])}\n{setting['networks']} networks; median of {setting['rounds']} rounds"
    ]
    found = {(f["size"], f["system"], f["batch"]): f for f in figures}
    for size in dict.fromkeys(f["size"] for f in figures):
        rows = []
        for system in setting["systems"]:
            cells = []
            for batch in setting["batches"]:
                figure, base = found[size, system, batch], found.get((size, BASE, batch))
                times = None if base is None else ratio(figure, base)
                note = "" if times is None else f" ({times:.2f}x)"
                cells.append(f"{figure['images_per_second']:.0f}{note}")
            rows.append([system, *cells])
        title = f"{size} x {size}: images/s by batch size (time, times {BASE})"
        parts.append(table(title, ["", *map(str, setting["batches"])], rows))
    return "\n\n".join(parts)


def bars(report: dict[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """For `chart.save_bars`."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for figure in report["figures"]:
        panel = found.setdefault(f"drawing {figure['size']} x {figure['size']}: images/s", {})
        panel.setdefault(f"batches of {figure['batch']}", {})[figure["system"]] = figure["images_per_second"]
    return found
