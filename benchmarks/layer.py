"""Time of the layer's operator beside instance norm and self-attention, as ratios measured in one run.

    python benchmarks/layer.py [--sizes 128 256 512] [--json FILE]

Each size runs its contestants in turn, several rounds over, so that a change of the machine's mood hits all alike;
the figure is the median. Batch 1, 32 channels, 16 entities: the setting of the paper's Table 5.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from attnorm import AttentiveNorm2d, SelfAttention2d, regional_norm

CHANNELS, ENTITIES, ROUNDS = 32, 16, 9
LARGEST_ATTENTION = 256  # self-attention at 512 x 512 would take minutes a call


def contestants(size: int) -> dict[str, Callable[[], Tensor]]:
    """The calls that are timed at one map size, all on the same input and without gradients."""
    x = torch.randn(1, CHANNELS, size, size)
    layout = torch.randn(1, ENTITIES, size, size).softmax(1)
    layer, attention = AttentiveNorm2d(CHANNELS, ENTITIES).eval(), SelfAttention2d(CHANNELS).eval()
    calls: dict[str, Callable[[], Tensor]] = {
        "instance_norm": lambda: functional.instance_norm(x),
        "regional_norm": lambda: regional_norm(x, layout),
        "AttentiveNorm2d": lambda: layer(x),
    }
    if size <= LARGEST_ATTENTION:
        calls["SelfAttention2d"] = lambda: attention(x)
    return calls


@torch.no_grad()
def measure(size: int) -> dict[str, float]:
    """Median seconds a call."""
    calls = contestants(size)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads(), "processor": platform.processor()}
    results: dict[str, Any] = {"machine": machine, "median_ms": {}}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; median ms (ratio to instance_norm)")
    for size in args.sizes:
        found = measure(size)
        results["median_ms"][size] = {name: 1e3 * value for name, value in found.items()}
        base = found["instance_norm"]
        print(f"{size:>5}  " + "  ".join(f"{n} {1e3 * v:.2f} ({v / base:.1f}x)" for n, v in found.items()))
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
