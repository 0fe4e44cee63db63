"""What a figure depends on beside the code."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from attnorm import __version__


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, threads, system, versions, the load before, and the time."""
    found: dict[str, Any] = {
        "processor": _processor_name(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_at_start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "attnorm": __version__,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def describe_machine(found: Mapping[str, Any]) -> str:
    """One line of it."""
    threads = f"{found['threads']} thread{'s' if found['threads'] > 1 else ''}"
    where = found.get("gpu") or f"{found['processor']}, {threads}, {found['vector_instructions']}"
    return f"{where}; torch {found['torch']}, attnorm {found['attnorm']}"


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
