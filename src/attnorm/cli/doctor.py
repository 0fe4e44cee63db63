"""`attnorm doctor`."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from attnorm.cli.arguments import Json
from attnorm.cli.extras import extras


def doctor(*, as_json: Json = False) -> None:
    """Show versions, devices, which backends of the layer can run here, and missing packages with the pip command."""
    found = examine()
    print(json.dumps(found, indent=1) if as_json else _as_text(found))


def examine() -> dict[str, Any]:
    """Everything that the command reports, in plain types."""
    import torch

    return {
        "versions": {"attnorm": version("attnorm"), "python": platform.python_version(), "torch": torch.__version__},
        "machine": f"{platform.system()} {platform.machine()}",
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "backends": _backends(),
        "extras": {extra: {name: _installed(name) for name in names} for extra, names in extras().items()},
    }


def _backends() -> dict[str, dict[str, Any]]:
    """By device, the backend that a call in float32 takes, and of each backend why it cannot run one, None if it can.

    Builds the compiled backend if it was not built yet, as the first call of a layer would.
    """
    import torch

    from attnorm.layers import backend_for, backend_refusals
    from attnorm.layers.regional_norm import BACKENDS

    found: dict[str, dict[str, Any]] = {}
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        try:
            v, s = torch.zeros(1, 8, 4, 4, device=device), torch.full((1, 4, 4, 4), 0.25, device=device)
        except RuntimeError as error:  # a driver that does not fit PyTorch, or a full GPU
            reason = f"PyTorch cannot use the device: {str(error).splitlines()[0]}"
            found[device] = {"taken": None, "refusals": dict.fromkeys(BACKENDS, reason)}
            continue
        found[device] = {"taken": backend_for(v, s), "refusals": backend_refusals(v, s)}
    return found


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _as_text(found: dict[str, Any]) -> str:
    lines = [f"{name:<10} {number}" for name, number in found["versions"].items()]
    lines.append(f"{found['machine']}, {found['processors']} processors, {found['threads']} threads")
    lines.append(f"vector instructions: {found['vector instructions']}")
    lines.append(f"GPUs: {', '.join(found['gpus']) or 'none that PyTorch sees'}")
    for device, backends in found["backends"].items():
        for name, refusal in backends["refusals"].items():
            state = refusal or ("taken" if name == backends["taken"] else "can run")
            lines.append(f"backend {name} on {device}: {state}")
    for extra, packages in found["extras"].items():
        missing = [package for package, number in packages.items() if number is None]
        state = f"lacks {', '.join(missing)}: pip install '.[{extra}]'" if missing else "complete"
        lines.append(f"extra {extra}: {state}")
    return "\n".join(lines)
