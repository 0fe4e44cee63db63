"""Checks and measures the Triton kernel on one GPU, in about ten minutes: python benchmarks/gpu.py [--help].

It compares the layer with the equations in float64 and runs it in a CUDA graph. It measures the layer beside a copy of
its input (a lower bound), instance norm, PyTorch's own operations ("off") and fused attention, at the sizes of the
paper's Table 5 and others; then other block sizes, and training steps of two presets with and without the kernel.
Without a GPU, --pretend runs everything on tiny shapes in Triton's interpreter; times then mean nothing.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from cyclopts import App
from torch import Tensor
from torch.nn import functional as F

from attnorm.bench import machine, print_table, write_json
from attnorm.config import derive
from attnorm.layers import AttentiveNorm2d, SelfAttention2d
from attnorm.layers.kernels import gpu, registry
from attnorm.layers.kernels.gpu import launches, self_check
from attnorm.metrics.distributed import Processes
from attnorm.presets import get_preset
from attnorm.training.class_conditional import ClassConditionalTask
from attnorm.training.runtime import set_numerics

PRETEND = "--pretend" in sys.argv
DEVICE = torch.device("cpu" if PRETEND else "cuda")
ROUNDS, SAMPLE_SECONDS = (1, 0.0) if PRETEND else (5, 0.03)
REGIONS = 16
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
STEPS = {"an-gan-digits": 2} if PRETEND else {"an-gan-cifar10": 64, "an-gan-imagenet128": 64}  # images a step


class Shape(NamedTuple):
    """The shape of a square map: images, channels, side in pixels."""

    b: int
    c: int
    side: int


# The paper's Table 5, then maps of its generators.
TABLE_5 = [Shape(1, 8, side) for side in (4, 8)] if PRETEND else [Shape(1, 32, side) for side in (128, 256, 512, 1024)]
WIDE = [] if PRETEND else [Shape(64, 256, 32), Shape(16, 128, 64), Shape(256, 256, 32), Shape(1, 256, 32)]
TRIED_BLOCKS = [  # by program: channels, pixels, warps, stages
    ("apply_gradients", (32, 32, 4, 2)),
    ("apply_gradients", (16, 64, 4, 2)),
    ("apply_gradients", (32, 64, 8, 2)),
    ("partial_sums", (32, 64, 4, 3)),
    ("partial_sums", (64, 64, 8, 2)),
    ("apply", (32, 128, 4, 3)),
    ("apply", (64, 64, 8, 3)),
]

app = App()


@app.default
def main(*, json: Path = Path("gpu.json"), seconds: float = 540, pretend: bool = False) -> None:
    """Checks and measures; prints tables and writes a record.

    Args:
        json: file to write.
        seconds: after this time, each part stops after its next row; what is left out is reported.
        pretend: run on tiny shapes in Triton's interpreter, to test this program.
    """
    if not pretend and not torch.cuda.is_available():
        sys.exit("there is no GPU that PyTorch can use: --pretend tries the program without one")
    if pretend:
        os.environ["TRITON_INTERPRET"] = "1"  # read when the first launch imports triton
        registry.KERNELS["cpu"], registry.AUTOMATIC["cpu"] = gpu, "triton"
    set_numerics("float32")
    report: dict[str, Any] = {"benchmark": "gpu", "machine": machine(DEVICE), "pretended": pretend, "left_out": []}
    start = time.monotonic()
    parts = {"checks": check, "times": lambda: measure(TABLE_5 + WIDE), "blocks": try_blocks, "steps": measure_steps}
    for name, part in parts.items():
        report[name] = []
        for row in part():
            report[name].append(row)
            write_json(json, report)
            if time.monotonic() - start > seconds:
                report["left_out"].append(f"{name} after {row['name']}")
                break
        print_rows(name, report[name])
    failed = [row["name"] for row in report["checks"] if row["problem"]]
    ratios = [row["speedup"] for row in report["times"] if row["name"].endswith("training")]
    report["verdict"] = {"failed": failed, "least_speedup_in_training": min(ratios, default=None)}
    write_json(json, report)
    print(f"failed checks: {failed or 'none'}; left out: {report['left_out'] or 'nothing'}; record in {json}")


def print_rows(name: str, rows: list[dict[str, Any]]) -> None:
    if rows:
        cells = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
        print_table(name, list(rows[0]), cells)


# Checks.


def check() -> Iterator[dict[str, Any]]:
    for dtype, last, n in itertools.product(DTYPES, (False, True), (16,) if PRETEND else (16, 32, 64)):
        order = "channels last" if last else "NCHW"
        yield {
            "name": f"gradients {str(dtype)[6:]} {order} n={n}",
            "problem": self_check._failure(DEVICE, dtype, last, n),
        }
    others = {"same bits": same_bits, "2^31 values": many_values}
    if not PRETEND and torch.cuda.mem_get_info()[0] < 20e9:
        del others["2^31 values"]  # it needs 15 GB; the record has no row of it
    for name, function in others.items():
        try:
            problem = function()
        except Exception as error:  # whatever a compiler or a driver raises is a result here
            problem = f"{type(error).__name__}: {str(error)[:200]}"
        yield {"name": name, "problem": problem}


def same_bits() -> str | None:
    """Whether a second call, a CUDA graph and a side stream give the same bits; else a message."""
    layer, x = make_layer(Shape(2, 8, 6) if PRETEND else Shape(8, 64, 64), torch.bfloat16)
    layer.eval()
    with torch.no_grad(), torch.autocast(DEVICE.type, torch.bfloat16, cache_enabled=False):
        first = layer(x)
        if not torch.equal(layer(x), first):
            return "two calls differ"
        if PRETEND:
            return None
        results: list[Tensor] = []
        replay = graphed(lambda: results.append(layer(x)))
        replay()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            beside = layer(x)
        torch.cuda.synchronize()
    return None if torch.equal(results[-1], first) and torch.equal(beside, first) else "a graph or a stream differs"


def many_values() -> str | None:
    if PRETEND:
        return None
    v = torch.randn(1, 33, 1 << 13, 1 << 13, device=DEVICE, dtype=torch.bfloat16)
    s = torch.full((1, 2, 1 << 13, 1 << 13), 0.5, device=DEVICE, dtype=torch.bfloat16)
    out = torch.ops.attnorm.regional_norm(v, s, None, None, 1e-5)[0]
    return None if abs(out[0, 32, -8:].float().std().item() - 1) < 0.1 else "the last channel is wrong"


# Times.


def make_layer(shape: Shape, dtype: torch.dtype) -> tuple[AttentiveNorm2d, Tensor]:
    """A layer and channels-last features as autocast has them: float32 weights, features in `dtype`."""
    torch.manual_seed(0)
    sampling = (shape.side // 2) ** 2 >= REGIONS
    layer = AttentiveNorm2d(shape.c, REGIONS, self_sampling=sampling, device=DEVICE)
    torch.nn.init.ones_(layer.residual_gain)
    x = torch.randn(shape.b, shape.c, shape.side, shape.side, device=DEVICE)
    return layer, x.to(dtype, memory_format=torch.channels_last)


def measure(shapes: list[Shape]) -> Iterator[dict[str, Any]]:
    """ms of the layer with and without the kernel, and of others; also in CUDA graphs, which exclude the host."""
    for shape, dtype, mode in itertools.product(shapes, DTYPES[:2], ("forward", "training")):
        layer, x = make_layer(shape, dtype)
        x.requires_grad_(mode == "training")
        half = torch.autocast(DEVICE.type, dtype, enabled=dtype != torch.float32)
        modules = {"layer": layer, "attention": SelfAttention2d(shape.c).to(DEVICE)}
        functions: dict[str, Any] = {"copy": torch.clone, "inst. norm": F.instance_norm, **modules}
        calls = {name: call(function, x, mode, half) for name, function in functions.items()}
        row: dict[str, Any] = {"name": f"{shape.b}x{shape.c}x{shape.side}^2 {str(dtype)[6:]} {mode}"}
        row |= {name: milliseconds(function) for name, function in calls.items()}
        with without_kernel():
            row["off"] = milliseconds(calls["layer"])
            row["off, graph"] = milliseconds(graphed(calls["layer"]))
        row["layer, graph"] = milliseconds(graphed(calls["layer"]))
        yield row | {"speedup": row["off"] / row["layer"], "/ copy": row["layer"] / row["copy"]}


def call(function: Callable[[Tensor], Tensor], x: Tensor, mode: str, half: torch.autocast) -> Callable[[], object]:
    parameters = function.parameters() if isinstance(function, torch.nn.Module) else ()
    wanted = [t for t in (x, *parameters) if t.requires_grad]
    upstream = torch.randn_like(x)

    def run() -> object:
        with torch.set_grad_enabled(mode == "training"), half:
            out = function(x)
        return torch.autograd.grad(out, wanted, upstream.to(out.dtype), allow_unused=True) if x.requires_grad else out

    return run


def try_blocks() -> Iterator[dict[str, Any]]:
    """ms of a training call with other block sizes than those of `launches`."""
    layer, x = make_layer(Shape(1, 8, 8) if PRETEND else Shape(64, 256, 32), torch.bfloat16)
    x.requires_grad_()
    function = call(layer, x, "training", torch.autocast(DEVICE.type, torch.bfloat16))
    for program, blocks in [("", ()), *TRIED_BLOCKS]:
        before = dict(launches.BLOCKS)
        if program:
            launches.BLOCKS[program] = (launches.Blocks(*blocks), before[program][1])
        try:
            took: float | str = milliseconds(graphed(function))
        except Exception as error:  # blocks that do not fit are a result
            took = f"{type(error).__name__}: {str(error)[:80]}"
        launches.BLOCKS.update(before)
        yield {"name": program or "as they are", "blocks": blocks, "ms": took}


def measure_steps() -> Iterator[dict[str, Any]]:
    """ms and images/s of whole training steps, bf16."""
    for preset, batch in STEPS.items():
        config: Any = derive(get_preset(preset), {"device": DEVICE.type, "precision": "bf16", "batch_size": batch})
        random, size = np.random.default_rng(0), config.image_size
        images = random.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
        labels = random.integers(0, config.generator.num_classes, batch)
        for kernel in ("off",) if PRETEND else ("off", "on"):  # the interpreter would take minutes
            with without_kernel() if kernel == "off" else torch.enable_grad():
                set_numerics("bf16")
                task, steps = ClassConditionalTask(config, Processes(DEVICE)), itertools.count()
                batches = [(images, labels)] * (task.batches_before(1) - task.batches_before(0))
                took = milliseconds(lambda task=task, steps=steps, b=batches: task.step(next(steps), b))  # type: ignore[misc]
            yield {"name": preset, "kernel": kernel, "ms": took, "images/s": 1e3 * batch / took}


@contextmanager
def without_kernel() -> Iterator[None]:
    os.environ["ATTNORM_KERNEL"] = "off"
    try:
        yield
    finally:
        del os.environ["ATTNORM_KERNEL"]


def milliseconds(function: Callable[[], object]) -> float:
    """The median over rounds of many calls each; measured by events on a GPU."""
    for _ in range(1 if PRETEND else 3):
        function()
    begin = time.perf_counter()
    function()
    synchronize()
    repeats = max(1, min(200, int(SAMPLE_SECONDS / (time.perf_counter() - begin))))
    return statistics.median(_round(function, repeats) for _ in range(ROUNDS))


def _round(function: Callable[[], object], repeats: int) -> float:
    if PRETEND:
        begin = time.perf_counter()
        function()
        return 1e3 * (time.perf_counter() - begin)
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(repeats):
        function()
    last.record()
    synchronize()
    return first.elapsed_time(last) / repeats


def synchronize() -> None:
    if not PRETEND:
        torch.cuda.synchronize()


def graphed(function: Callable[[], object]) -> Callable[[], object]:
    """The function as a CUDA graph."""
    if PRETEND:
        return function
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    replay: Callable[[], object] = graph.replay
    return replay


if __name__ == "__main__":
    app()
