"""Time and memory of the layer and its alternatives by map size (the paper's Table 5), and how both are measured.

Calls take turns, round after round. A ratio is the median over the rounds of the ratio within a round, so that other
load on the machine slows both sides of it.
"""

from __future__ import annotations

import datetime
import gc
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from attnorm import __version__
from attnorm.config import Frozen, parse
from attnorm.errors import UserError, counted, table
from attnorm.files import check_output, output_file
from attnorm.layers import AttentiveNorm2d, SelfAttention2d, backend_refusals, regional_norm
from attnorm.memory import return_freed_memory

Call = Callable[[], object]
BASELINE = "instance_norm"
MODES = ("forward", "training")
SAMPLE_SECONDS = 0.02  # quick calls are repeated until a sample lasts this long
MOST_REPEATS = 50
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Measurement:
    """Seconds per call in each round, and peak memory in MB above that before the call (None if unknown)."""

    times: tuple[float, ...]
    memory: float | None

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    def ratio(self, base: Measurement) -> float:
        """The time of a call relative to that of `base`, which was measured in the same rounds."""
        if len(self.times) != len(base.times):  # one was too slow to repeat
            return self.median / base.median
        return statistics.median(a / b for a, b in zip(self.times, base.times, strict=True))


def measure(
    calls: Mapping[str, Call], *, rounds: int, device: torch.device, limit: float = math.inf, trim: bool = True
) -> dict[str, Measurement]:
    """Measures calls in interleaved rounds. Before each sample the call is made once.

    Args:
        limit: in seconds; a slower call is measured once.
        trim: whether memory that other calls have freed on a CPU is returned to the system before each sample.
    """
    found, repeats = {}, {}
    for name, call in calls.items():
        call()
        gc.collect()
        found[name] = _first_measurement(call, device)
        if found[name].median <= limit:
            repeats[name] = min(MOST_REPEATS, math.ceil(SAMPLE_SECONDS / found[name].median) or 1)
    samples: dict[str, list[float]] = {name: [] for name in repeats}
    for _ in range(rounds):
        for name, count in repeats.items():
            if trim:
                return_freed_memory()
            calls[name]()
            samples[name].append(_seconds(calls[name], count, device))
    return found | {name: Measurement(tuple(times), found[name].memory) for name, times in samples.items()}


def _seconds(call: Call, repeats: int, device: torch.device) -> float:
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    _synchronize(device)
    return (time.perf_counter() - start) / repeats


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _first_measurement(call: Call, device: torch.device) -> Measurement:
    """One call with its peak memory, the result included."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return Measurement((_seconds(call, 1, device),), (torch.cuda.max_memory_allocated(device) - before) / MEGABYTE)
    return_freed_memory()  # else it would hide the call's
    try:
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    except OSError:  # not Linux
        return Measurement((_seconds(call, 1, device),), None)
    return Measurement((_seconds(call, 1, device),), max(0.0, (_status("VmHWM") - before) / 1024))


def _status(name: str) -> int:
    """A field of this process's status in KB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, threads, system, versions, load and date, on which a measurement depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    found: dict[str, Any] = {
        "processor": next(names, platform.processor() or platform.machine()),
        "threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_at_start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "attnorm": __version__,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    return found | ({"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {})


def describe_machine(found: Mapping[str, Any]) -> str:
    """`machine` in one line."""
    cpu = f"{found['processor']}, {counted(found['threads'], 'thread')}, {found['vector_instructions']}"
    return f"{found.get('gpu') or cpu}; torch {found['torch']}, attnorm {found['attnorm']}"


def print_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a title and a table."""
    print(f"\n{title}\n{table([head, *rows])}")


def write_json(path: Path | None, report: Mapping[str, Any]) -> None:
    """Writes a report if there is a path. Raises a UserError if the file cannot be written."""
    if path is not None:
        with output_file(path) as partial:
            partial.write_text(json.dumps(report, indent=1) + "\n")


class LayerSettings(Frozen):
    """Sizes are sides of square maps in pixels. A call that took over `limit` seconds is not tried on larger maps."""

    sizes: tuple[Annotated[int, Field(ge=2, le=4096)], ...] = Field((128, 256, 512, 1024), min_length=1)
    batch: int = Field(1, ge=1, le=1024)
    channels: int = Field(32, ge=1, le=4096)
    entities: int = Field(16, ge=1, le=256)
    dtype: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    rounds: int = Field(15, ge=1)
    limit: float = Field(2.0, gt=0)


def bench_layer(json: Path | None = None, **settings: Any) -> dict[str, Any]:
    """Measures every size, prints a table for each, and returns the report.

    Args:
        json: a file to write the report to; an existing one is replaced.
        settings: fields of `LayerSettings`.

    Returns:
        {"benchmark", "machine", "settings", "results": [{"size", "mode", "name", "times" (s), "median" (s),
        "ratio" (to instance_norm), "memory" (MB)}]}

    Raises:
        UserError: a setting is out of range, or there is no GPU.
    """
    return run_layer(parse(LayerSettings, settings, "bench layer"), layer_calls, json)


def run_layer(
    settings: LayerSettings, make_calls: Callable[[LayerSettings, int, str], dict[str, Call]], path: Path | None
) -> dict[str, Any]:
    """As `bench_layer`, for the calls that `make_calls(settings, size, mode)` returns."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda needs a GPU that PyTorch can use: use --device cpu")
    if path is not None:
        check_output(path, force=True)
    device = torch.device(settings.device)
    report: dict[str, Any] = {"benchmark": "layer", "machine": machine(device), "settings": settings.model_dump()}
    results = report["results"] = []
    print(describe_machine(report["machine"]))
    slow = set()
    for size in sorted(set(settings.sizes)):
        for mode in MODES:
            calls = {n: call for n, call in make_calls(settings, size, mode).items() if (mode, n) not in slow}
            found = measure(calls, rounds=settings.rounds, device=device, limit=settings.limit)
            slow |= {(mode, name) for name, one in found.items() if one.median > settings.limit}
            for name, one in found.items():
                summary = {"median": one.median, "ratio": one.ratio(found[BASELINE])}
                results.append({"size": size, "mode": mode, "name": name, **asdict(one), **summary})
        _print_size(settings, size, [one for one in results if one["size"] == size])
        write_json(path, report)
    return report


def _print_size(settings: LayerSettings, size: int, results: Sequence[dict[str, Any]]) -> None:
    cells = {(one["name"], one["mode"]): one for one in results}
    rows = []
    for name in dict.fromkeys(one["name"] for one in results):
        row = [name]
        for one in (cells.get((name, mode)) for mode in MODES):
            memory = "–" if one is None or one["memory"] is None else f"{one['memory']:.1f}"
            row += ["–", "–", memory] if one is None else [f"{1e3 * one['median']:.2f}", f"{one['ratio']:.2f}", memory]
        rows.append(row)
    header = ["", "forward ms", "ratio", "MB", "training ms", "ratio", "MB"]
    shape = f"{settings.batch} x {settings.channels} x {size} x {size}, {settings.entities} entities, {settings.dtype}"
    print_table(f"{shape}: time, ratio to {BASELINE}, peak memory", header, rows)


def layer_calls(settings: LayerSettings, size: int, mode: str) -> dict[str, Call]:
    """The calls at one map size: forward without gradients in eval mode, or forward and backward in training mode."""
    n = settings.entities
    x, layout, call = layer_inputs(settings, size, mode)
    calls = {"copy": call(Tensor.clone, x), BASELINE: call(F.instance_norm, x)}
    for name, refusal in backend_refusals(x, layout).items():
        if refusal is None:
            calls[f"regional_norm {name}"] = call(lambda v, s, name=name: regional_norm(v, s, backend=name), x, layout)
    # Self-sampling takes n positions of the pooled map.
    layer = AttentiveNorm2d(settings.channels, n, self_sampling=n <= size * size // 4)
    return calls | {
        "AttentiveNorm2d": call(layer, x),
        "SelfAttention2d": call(SelfAttention2d(settings.channels), x),
    }


def layer_inputs(settings: LayerSettings, size: int, mode: str) -> tuple[Tensor, Tensor, Callable[..., Call]]:
    """Features x (b, c, h, w), a layout (b, n, h, w), and a function that makes a call of a module or function."""
    device, dtype = torch.device(settings.device), getattr(torch, settings.dtype)
    order = torch.channels_last if settings.channels_last else torch.contiguous_format
    training = mode == "training"

    def random(channels: int) -> Tensor:
        values = torch.randn(settings.batch, channels, size, size, device=device, dtype=dtype)
        return values.contiguous(memory_format=order)

    x, upstream = random(settings.channels).requires_grad_(training), random(settings.channels)
    layout = random(settings.entities).float().softmax(1).to(dtype).requires_grad_(training)

    def call(function: Callable[..., Tensor], *inputs: Tensor) -> Call:
        wanted = list(inputs)
        if isinstance(function, nn.Module):
            function.to(device, dtype).to(memory_format=order).train(training)  # type: ignore[call-overload]
            wanted += function.parameters()
        if not training:
            return torch.no_grad()(lambda: function(*inputs))
        return lambda: torch.autograd.grad(function(*inputs), wanted, upstream, allow_unused=True)

    return x, layout, call
