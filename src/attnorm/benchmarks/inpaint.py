"""Inpainting with attentive normalization against contextual attention: time and memory by picture size and mode.

The networks are equal but for that layer, and have random weights. Each runs in a process of its own, whose memory
holds nothing else: what it takes is measured at its first picture of the size. Then the processes take turns.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch

from attnorm.benchmarks.machine import describe_machine, machine
from attnorm.benchmarks.measuring import Contestant, measure
from attnorm.benchmarks.report import ratio, table
from attnorm.errors import UserError

KINDS = {"attentive_norm": "AN", "contextual_attention": "CA"}
MODES = ("native", "crop", "resize")


@dataclass(frozen=True)
class Setting:
    """width: channels after the first convolution, 32 in the paper. limit: seconds, as in `measure`."""

    sizes: tuple[int, ...] = (256, 1024)
    modes: tuple[str, ...] = MODES
    width: int = 32
    rounds: int = 5
    limit: float = 60.0


class Child:
    """A process that completes a picture for every line that it reads; its first picture tells its memory.

    memory: megabytes beside the loaded network; None where that cannot be known.
    """

    def __init__(self, kind: str, size: int, mode: str, width: int, threads: int) -> None:
        order = {"kind": kind, "size": size, "mode": mode, "width": width, "threads": threads}
        command = [sys.executable, "-m", "attnorm.benchmarks.inpaint_child", json.dumps(order)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.memory: float | None = self._read()
        except BaseException:
            self.close()
            raise

    def __call__(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._read()

    def close(self) -> None:
        """Ends the process and waits for it."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise UserError(f"the process that inpaints ended with exit code {self._process.wait()}: is memory short?")
        return json.loads(line)


def run(setting: Setting, on_mode: Callable[[dict[str, Any]], None] = lambda report: None) -> dict[str, Any]:
    """Measures every size and mode and returns the report, which `on_mode` also gets, as far as it has come.

    {"benchmark", "machine", "setting", "figures": [{"size", "mode", "kind", "median" (s a picture), "memory" (MB),
    "skipped", …}]}
    """
    device = torch.device("cpu")
    report: dict[str, Any] = {"benchmark": "inpaint", "machine": machine(device)}
    report |= {"setting": dataclasses.asdict(setting), "figures": []}
    for size in setting.sizes:
        for mode in setting.modes:
            print(f"measuring {size} x {size}, {mode} …", file=sys.stderr, flush=True)
            with ExitStack() as stack:
                contestants = [_contestant(stack, setting, kind, size, mode) for kind in KINDS]
                found = measure(contestants, rounds=setting.rounds, limit=setting.limit, device=device)
            place = {"size": size, "mode": mode}
            report["figures"] += [
                {**place, "kind": kind, **dataclasses.asdict(figure)} for kind, figure in zip(KINDS, found, strict=True)
            ]
            on_mode(report)
    return report


def _contestant(stack: ExitStack, setting: Setting, kind: str, size: int, mode: str) -> Contestant:
    """Its process starts with its first call, so that one that would need too much memory never does."""
    from attnorm.benchmarks.inpaint_child import bytes_needed

    started: list[Child] = []

    def child() -> Child:
        if not started:
            started.append(Child(kind, size, mode, setting.width, torch.get_num_threads()))
            stack.callback(started[0].close)
        return started[0]

    return Contestant(kind, lambda: child()(), bytes_needed(kind, size, mode, setting.width), lambda: child().memory)


def as_text(report: dict[str, Any]) -> str:
    """A table a size: seconds and megabytes of both layers and their ratios, by mode; and what was left out."""
    setting, figures = report["setting"], report["figures"]
    parts = [
        f"{describe_machine(report['machine'])}\nwidth {setting['width']}, one picture with a hole of a quarter of its "
        f"side; median of {setting['rounds']} rounds"
    ]
    found = {(f["size"], f["mode"], f["kind"]): f for f in figures}
    for size in dict.fromkeys(f["size"] for f in figures):
        rows = []
        for mode in setting["modes"]:
            pair = [found[size, mode, kind] for kind in KINDS if (size, mode, kind) in found]
            if len(pair) < len(KINDS):
                continue
            times = ratio(pair[1], pair[0])
            rows.append(
                [
                    mode,
                    *(_number(f["median"], 2) for f in pair),
                    _number(times, 2),
                    *(_number(f["memory"], 0) for f in pair),
                    _number(_memory_ratio(*pair), 2),
                ]
            )
        header = ["", "AN, s", "CA, s", "CA / AN", "AN, MB", "CA, MB", "CA / AN"]
        parts.append(table(f"{size} x {size}: seconds a picture, and peak memory beside the network", header, rows))
    reasons = [
        f"  {KINDS[f['kind']]}, {f['size']} x {f['size']}, {f['mode']}: {f['skipped']}" for f in figures if f["skipped"]
    ]
    return "\n\n".join([*parts, *(["\n".join(["not measured:", *reasons])] if reasons else [])])


def _memory_ratio(ours: dict[str, Any], other: dict[str, Any]) -> float | None:
    return other["memory"] / ours["memory"] if ours["memory"] and other["memory"] else None


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def bars(report: dict[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """For `chart.save_bars`."""
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for quantity, unit in (("median", "seconds a picture"), ("memory", "peak memory beside the network, MB")):
        for figure in report["figures"]:
            panel = found.setdefault(f"inpainting {figure['size']} x {figure['size']}: {unit}", {})
            panel.setdefault(figure["mode"], {})[KINDS[figure["kind"]]] = figure[quantity]
    return found
