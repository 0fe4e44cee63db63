"""Measures generators with equal channels, by image and batch size: python benchmarks/generation.py [--help]."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from cyclopts import App, Parameter
from systems import BASELINE, SYSTEMS, Networks, system_config

from attnorm import ClassConditionalPipeline
from attnorm.bench import describe_machine, machine, measure, print_table, write_json
from attnorm.models.class_conditional import Generator

app = App(default_parameter=Parameter(consume_multiple=True, negative=""))


@app.default
def main(
    *,
    sizes: tuple[Literal[32, 64, 128], ...] = (32, 64, 128),
    systems: tuple[str, ...] = SYSTEMS,
    batches: tuple[int, ...] = (1, 8, 32),
    networks: Networks = "cpu",
    device: Literal["cpu", "cuda"] = "cpu",
    rounds: int = 9,
    json: Path | None = None,
) -> None:
    """Measures `ClassConditionalPipeline` with random weights, all systems in turns.

    Args:
        sizes: image sizes in pixels.
        networks: those of the -cpu presets, or the full-sized ones.
        json: file to write.
    """
    where = torch.device(device)
    report: dict[str, Any] = {"benchmark": "generation", "machine": machine(where), "networks": networks, "results": []}
    print(describe_machine(report["machine"]))
    for size in sizes:
        torch.manual_seed(0)
        generators = {system: Generator(system_config(system, size, networks).generator) for system in systems}
        pipelines = {system: ClassConditionalPipeline(network.to(where)) for system, network in generators.items()}
        cells: dict[str, list[str]] = {system: [] for system in systems}
        for batch in batches:
            calls = {system: partial(pipe, num_images=batch) for system, pipe in pipelines.items()}
            found = measure(calls, rounds=rounds, device=where)
            for system, one in found.items():
                rate = batch / one.median
                times = f" ({one.ratio(found[BASELINE]):.2f}x)" if BASELINE in found else ""
                cells[system].append(f"{rate:.0f}{times}")
                report["results"].append({"size": size, "system": system, "batch": batch, **asdict(one)})
        title = f"{size} x {size}: images/s by batch size (time / {BASELINE})"
        print_table(title, ["", *map(str, batches)], [[system, *row] for system, row in cells.items()])
        write_json(json, report)


if __name__ == "__main__":
    app()
