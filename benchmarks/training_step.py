"""A training step of the class-conditional systems at equal channels: python benchmarks/training_step.py [--help].

A step is one of the training loop: the next batches from the prefetching thread, the updates of both networks, the
averaged weights. "plain" is the same step in float32, NCHW and with Adam's defaults; "compiled" has compiled networks.
"arithmetic" has the multiplications of attentive normalization in a step of AN-GAN, a lower bound: see floor.py.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from cyclopts import App, Parameter
from floor import Mode, layer_arithmetic
from systems import BASELINE, NUM_CLASSES, SYSTEMS, Networks, system_config

from attnorm.bench import Call, describe_machine, machine, measure, print_table, write_json
from attnorm.data.batches import Prefetcher, batch_indices
from attnorm.data.dataset import ImageDataset
from attnorm.layers import AttentiveNorm2d
from attnorm.layers.weights import raw_weight
from attnorm.memory import keep_freed_memory
from attnorm.metrics.distributed import Processes
from attnorm.pipelines.base import resolve_device
from attnorm.training.class_conditional import ClassConditionalConfig, ClassConditionalTask
from attnorm.training.runtime import resolve_precision

Variant = Literal["ours", "plain", "compiled"]
NUM_IMAGES = 512  # in memory; data_reading.py measures reading
BATCHES = {32: 32, 64: 32, 128: 8}  # images per step
WARM_UP = 2  # steps; the first one of a compiled network compiles


class PlainAdam(torch.optim.Adam):
    """Adam with its defaults; `found_inf`, which only the fused kernel reads, is ignored."""

    found_inf = property(lambda self: None, lambda self, value: None)


class Step:
    """The training of one system, one step per call."""

    def __init__(self, config: ClassConditionalConfig, variant: Variant) -> None:
        torch.manual_seed(0)
        self.task = ClassConditionalTask(config, Processes(resolve_device(config.device)))
        if variant == "plain":
            for name, optimizer in self.task.optimizers.items():
                group, parameters = optimizer.param_groups[0], self.task.networks[name].parameters()
                self.task.optimizers[name] = PlainAdam(parameters, lr=group["lr"], betas=group["betas"])
        random, size = np.random.default_rng(0), config.image_size
        images = random.integers(0, 256, (NUM_IMAGES, size, size, 3), dtype=np.uint8)
        classes = tuple(str(i) for i in range(NUM_CLASSES))
        dataset = ImageDataset(images, random.integers(0, NUM_CLASSES, NUM_IMAGES), classes)
        indices = partial(batch_indices, NUM_IMAGES, batch_size=config.batch_size, seed=0)
        self.batches = Prefetcher(dataset, indices, prepare=self.task.prepare)
        self.number = 0
        for _ in range(WARM_UP):
            self()

    def __call__(self) -> dict[str, torch.Tensor]:
        count = self.task.batches_before(self.number + 1) - self.task.batches_before(self.number)
        losses = self.task.step(self.number, [self.batches.next() for _ in range(count)])
        self.number += 1
        return losses

    def close(self) -> None:
        self.batches.close()

    def arithmetic(self) -> Call:
        """The multiplications of the layer in one step: convolutions in the dtype of its input, the rest in float32."""
        calls: list[Call] = []

        def note(layer: AttentiveNorm2d, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
            trained = raw_weight(layer.value).requires_grad
            mode: Mode = "forward" if not out.requires_grad else "training" if trained else "frozen"
            (x,), n = inputs, layer.num_entities
            calls.append(layer_arithmetic(x.numel() // x.shape[1], x.shape[1], n, mode, x.dtype, torch.float32))

        modules = [module for network in self.task.networks.values() for module in network.modules()]
        hooks = [module.register_forward_hook(note) for module in modules if isinstance(module, AttentiveNorm2d)]
        self()
        for hook in hooks:
            hook.remove()
        return lambda: [call() for call in calls]


def step_config(
    system: str, size: int, variant: Variant, networks: Networks = "cpu", batch: int | None = None, device: str = "auto"
) -> ClassConditionalConfig:
    """The configuration of a measured step; by default `batch` is from BATCHES."""
    changes: dict[str, Any] = {"device": device, "batch_size": batch or BATCHES[size], "compile": variant == "compiled"}
    changes["precision"] = resolve_precision("auto", resolve_device(device))
    if variant == "plain":
        changes |= {"precision": "float32", "channels_last": False}
    return system_config(system, size, networks, **changes)


app = App(default_parameter=Parameter(consume_multiple=True, negative=""))


@app.default
def main(
    *,
    sizes: tuple[Literal[32, 64, 128], ...] = (32, 64, 128),
    systems: tuple[str, ...] = SYSTEMS,
    variants: tuple[Variant, ...] = ("ours", "plain"),
    networks: Networks = "cpu",
    batch: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    rounds: int = 7,
    json: Path | None = None,
) -> None:
    """Measures training steps of all systems and variants in turn.

    Args:
        sizes: image sizes in pixels.
        networks: those of the -cpu presets, or the full-sized ones.
        batch: images per step; by default 32, at 128 pixels 8.
        json: file to write.
    """
    where = resolve_device(device)
    keep_freed_memory()
    report: dict[str, Any] = {
        "benchmark": "training step",
        "machine": machine(where),
        "networks": networks,
        "results": [],
    }
    print(describe_machine(report["machine"]))
    for size in sizes:
        with ExitStack() as stack:
            steps: dict[str, Call] = {}
            for system in systems:
                for variant in variants:
                    step = Step(step_config(system, size, variant, networks, batch, where.type), variant)
                    stack.callback(step.close)
                    steps[f"{system}, {variant}"] = step
                    if (system, variant, where.type) == ("an-gan", "ours", "cpu"):
                        steps["arithmetic, ours"] = step.arithmetic()
            found = measure(steps, rounds=rounds, device=where, trim=False)  # as in training
        images, rows = batch or BATCHES[size], []
        for name, one in found.items():
            system, _, kind = name.partition(", ")
            base, plain = found.get(f"{BASELINE}, {kind}"), found.get(f"{system}, plain")
            rate = "–" if system == "arithmetic" else f"{images / one.median:.1f}"
            report["results"].append({"size": size, "system": system, "variant": kind, "batch": images, **asdict(one)})
            rows.append(
                [
                    name,
                    rate,
                    f"{1e3 * one.median:.0f}",
                    "–" if base is None else f"{one.ratio(base):.2f}",
                    "–" if plain is None else f"{plain.ratio(one):.2f}",
                    "–" if one.memory is None else f"{one.memory:.0f}",
                ]
            )
        header = ["", "images/s", "ms a step", f"time / {BASELINE}", "speed / plain", "peak memory, MB"]
        print_table(f"{size} x {size}, {images} images a step", header, rows)
        write_json(json, report)


if __name__ == "__main__":
    app()
