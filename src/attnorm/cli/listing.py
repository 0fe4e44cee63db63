"""`attnorm models` and `attnorm presets`."""

from __future__ import annotations

import json
from typing import Any

from attnorm.cli.arguments import Json, ModelName, PresetName, print_table
from attnorm.errors import UserError
from attnorm.shipped import CARD_FILE, shipped_models

TIMES = {"demo-digits": "4 min", "an-gan-digits": "4 min"}  # measured on two CPU cores
FOR_CPU = ("-cpu", "-digits")  # endings of presets' names


def models(name: ModelName | None = None, /, *, as_json: Json = False) -> None:
    """List the trained models that come with attnorm, or print the card of one."""
    from huggingface_hub import ModelCard

    from attnorm.config import nearest

    shipped = shipped_models()
    if name is not None and name not in shipped:
        raise UserError(f"no model {name!r} comes with attnorm{nearest(name, shipped)} (`attnorm models` lists them)")
    if as_json:
        print(json.dumps(_describe(name) if name else [_describe(each) for each in shipped], indent=1))
    elif name:
        print(ModelCard.load(shipped[name] / CARD_FILE).text.strip())
    else:
        rows = []
        for model in map(_describe, shipped):
            measured = [f"{metric} {value:.4g}" for metric, value in model["metrics"].items()]
            size, classes = f"{model['size']}×{model['size']}", str(len(model["classes"]) or "-")
            rows.append((model["name"], model["task"], size, classes, model["data"], (measured or ["not measured"])[0]))
        print_table(("name", "task", "size", "classes", "data", "metric"), rows)


def _describe(name: str) -> dict[str, Any]:
    """What the folder of a shipped model says, in plain types. metrics: value by name, the main one first."""
    from huggingface_hub import ModelCard

    from attnorm.models.pretrained import saved_config, task_of

    folder = shipped_models()[name]
    config, data = saved_config(folder), ModelCard.load(folder / CARD_FILE).data
    return {
        "name": name,
        "task": task_of(folder),
        "size": config["image_size"],
        "classes": list(config.get("class_names", [])),
        "data": data.datasets[0],
        "licence": data.license,
        "metrics": {result.metric_name: result.metric_value for result in data.eval_results or ()},
        "folder": str(folder),
    }


def presets(name: PresetName | None = None, /, *, as_json: Json = False) -> None:
    """List the presets, or print one as YAML.

    A preset is a system of the paper with the networks and the settings for an image size; any images will do.
    """
    from attnorm.config import to_dict, to_yaml
    from attnorm.presets import DEMOS, INPAINTERS, PRESETS, SYSTEMS, get_preset

    if as_json:
        found = to_dict(get_preset(name)) if name else {each: to_dict(preset) for each, preset in PRESETS.items()}
        print(json.dumps(found, indent=1))
    elif name:
        print(to_yaml(get_preset(name)), end="")
    else:
        rows = []
        for each, preset in PRESETS.items():
            device = "CPU" if DEMOS.get(each, each).endswith(FOR_CPU) else "GPU"
            rows.append((each, f"{preset.image_size}×{preset.image_size}", device, TIMES.get(each, "")))
        print_table(("preset", "size", "for a", "time on two cores"), rows)
        print("\nsystems:")
        for system, variant in {**SYSTEMS, **INPAINTERS}.items():
            print(f"  {system:<18} {variant.about}")
        print("\n`attnorm presets NAME` prints one as YAML.")
