"""`attnorm doctor` and `attnorm bench layer`: what this machine has, and how fast it is."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from attnorm.cli.arguments import Fields


def doctor() -> None:
    """Show versions, devices, and which backends of the layer can run on them."""
    import torch
    import yaml

    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    found = {
        "versions": {"attnorm": version("attnorm"), "torch": version("torch"), "python": platform.python_version()},
        "machine": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "backends": {device: _backends(device) for device in devices},
    }
    print(yaml.safe_dump(found, sort_keys=False, width=200), end="")


def _backends(device: str) -> dict[str, Any] | str:
    """The backend that a float32 call takes, and why each backend cannot run one (None if it can)."""
    import torch

    from attnorm.layers import backend_for, backend_refusals

    try:
        v, s = torch.zeros(1, 8, 4, 4, device=device), torch.full((1, 4, 4, 4), 0.25, device=device)
    except RuntimeError as error:  # a driver that does not fit PyTorch, or a full GPU
        return f"PyTorch cannot use the device: {str(error).splitlines()[0]}"
    return {"chosen": backend_for(v, s), **{name: why or "can run" for name, why in backend_refusals(v, s).items()}}


def layer(*fields: Fields, json: Annotated[Path | None, Parameter(name="--json")] = None) -> None:
    """Measure time and memory of the layer beside instance norm and self-attention, by map size (the paper's Table 5).

    Args:
        fields: --sizes 128 256 512 1024 (sides of the maps), --batch 1, --channels 32, --entities 16, --dtype float32
            (or bfloat16), --channels_last false, --device cpu (or cuda), --rounds 15, --limit 2 (seconds; a slower
            call is measured once). The values are the defaults.
        json: Also write the report to this file, which it replaces.
    """
    from attnorm.bench import LayerSettings, bench_layer
    from attnorm.config import parse_overrides

    bench_layer(json, **parse_overrides(list(fields), LayerSettings()))
