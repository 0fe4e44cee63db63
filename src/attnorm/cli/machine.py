"""`attnorm doctor` and `attnorm bench layer`: what this machine has, and how fast it is."""

from __future__ import annotations

import json as json_format
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from attnorm.cli.arguments import Json
from attnorm.cli.extras import extras


def doctor(*, as_json: Json = False) -> None:
    """Show versions, devices, the layer's backends, and missing packages with the command that installs them."""
    import torch
    import yaml

    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    found: dict[str, Any] = {
        "versions": {name: version(name) for name in ("attnorm", "torch")} | {"python": platform.python_version()},
        "machine": f"{platform.system()} {platform.machine()}",
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "backends": {device: _backends(device) for device in devices},
        "extras": {extra: {name: _installed(name) for name in names} for extra, names in extras().items()},
    }
    if as_json:
        print(json_format.dumps(found, indent=1))
        return
    for extra, packages in found["extras"].items():
        missing = ", ".join(package for package, number in packages.items() if number is None)
        found["extras"][extra] = f"lacks {missing}: pip install '.[{extra}]'" if missing else "complete"
    print(yaml.safe_dump(found, sort_keys=False, width=200), end="")


def _backends(device: str) -> dict[str, Any]:
    """The backend that a float32 call takes, and why each backend cannot run one (None if it can)."""
    import torch

    from attnorm.layers import backend_for, backend_refusals

    try:
        v, s = torch.zeros(1, 8, 4, 4, device=device), torch.full((1, 4, 4, 4), 0.25, device=device)
    except RuntimeError as error:  # a driver that does not fit PyTorch, or a full GPU
        return {"taken": None, "refusals": f"PyTorch cannot use the device: {str(error).splitlines()[0]}"}
    return {"taken": backend_for(v, s), "refusals": backend_refusals(v, s)}


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def layer(
    *,
    sizes: tuple[int, ...] = (128, 256, 512, 1024),
    batch: int = 1,
    channels: int = 32,
    entities: int = 16,
    dtype: Literal["float32", "bfloat16"] = "float32",
    channels_last: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    rounds: int = 15,
    limit: float = 2.0,
    json: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure time and memory of the layer beside instance norm and self-attention, by map size (the paper's Table 5).

    Args:
        sizes: Sides of the maps in pixels.
        batch: Maps per call.
        channels_last: Memory order of the maps; NCHW without it.
        rounds: Samples of each call.
        limit: Seconds; a call that takes longer is measured once, and not at larger sizes.
        json: Also write the report to this file, which it replaces.
    """
    settings = {name: value for name, value in locals().items() if name != "json"}
    from attnorm.bench import bench_layer

    bench_layer(json, **settings)
