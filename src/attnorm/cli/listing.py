"""`attnorm presets`, `models`, `doctor` and `bench layer`."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from attnorm.cli.arguments import Fields, ModelName, PresetName
from attnorm.errors import UserError, table
from attnorm.shipped import CARD_FILE, shipped_models


def models(name: ModelName | None = None, /) -> None:
    """List the trained models in the package, or print the card of one.

    Args:
        name: Print the card of this model.
    """
    from huggingface_hub import ModelCard

    from attnorm.config import nearest
    from attnorm.models.pretrained import saved_config, task_of

    shipped = shipped_models()
    if name is not None and name not in shipped:
        raise UserError(f"the package has no model {name!r}{nearest(name, shipped)} (`attnorm models` lists them)")
    if name is not None:
        print(ModelCard.load(shipped[name] / CARD_FILE).text.strip())
        return
    rows = [("model", "task", "size", "classes", "data")]
    for model, folder in shipped.items():
        config, data = saved_config(folder), ModelCard.load(folder / CARD_FILE).data
        size, classes = f"{config['image_size']}×{config['image_size']}", len(config.get("class_names", ()))
        rows.append((model, str(task_of(folder)), size, str(classes or "–"), data.datasets[0]))
    print(f"{table(rows)}\n\n`attnorm models NAME` prints a model's card: its data, training and metrics.")


def presets(name: PresetName | None = None, /) -> None:
    """List the presets, or print one as YAML.

    Args:
        name: Print this preset.
    """
    from attnorm.config import to_yaml
    from attnorm.presets import DEMOS, INPAINTERS, MINUTES, SYSTEMS, get_preset, presets

    if name:
        print(to_yaml(get_preset(name)), end="")
        return
    rows = [("preset", "size", "for a", "on two cores")]
    for each, preset in presets().items():
        minutes = MINUTES.get(DEMOS.get(each, each))
        device, time = ("CPU", f"{minutes} min") if minutes else ("GPU", "")
        rows.append((each, f"{preset.image_size}×{preset.image_size}", device, time))
    systems = [(f"  {system}", variant.about) for system, variant in {**SYSTEMS, **INPAINTERS}.items()]
    print(f"{table(rows)}\n\nA name is SYSTEM-DATA. DATA stands for a size and a number of steps; use any images.")
    print(f"\n{table([('SYSTEM', ''), *systems])}\n\n`attnorm presets NAME` prints a preset as YAML.")


def doctor() -> None:
    """Show versions, devices, and the backends of the layer that they can run."""
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
    """The backend of a float32 call, and why other backends cannot run it."""
    import torch

    from attnorm.layers import backend_for, backend_refusals

    try:
        v, s = torch.zeros(1, 8, 4, 4, device=device), torch.full((1, 4, 4, 4), 0.25, device=device)
    except RuntimeError as error:  # a driver that does not fit PyTorch, or a full GPU
        return f"PyTorch cannot use the device: {str(error).splitlines()[0]}"
    return {"chosen": backend_for(v, s), **{name: why or "can run" for name, why in backend_refusals(v, s).items()}}


def layer(*fields: Fields, json: Annotated[Path | None, Parameter(name="--json")] = None) -> None:
    """Measure time and memory of the layer, instance norm and self-attention by map size (the paper's Table 5).

    Args:
        fields: --sizes 128 256 512 1024 (sides of the maps), --batch 1, --channels 32, --entities 16, --dtype float32
            (or bfloat16), --channels_last false, --device cpu (or cuda), --rounds 15, --limit 2 (seconds; a slower
            call is measured once). The values are the defaults.
        json: Also write the report to this file, which it replaces.
    """
    from attnorm.bench import LayerSettings, bench_layer
    from attnorm.config import parse_overrides

    bench_layer(json, **parse_overrides(list(fields), LayerSettings()))
