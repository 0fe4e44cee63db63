"""`attnorm models`."""

from __future__ import annotations

import json
from typing import Any

from attnorm.cli.arguments import Json, ModelName, print_table
from attnorm.errors import UserError
from attnorm.shipped import CARD_FILE, shipped_models

HEAD = ("name", "task", "size", "classes", "data", "metric")


def models(name: ModelName | None = None, /, *, as_json: Json = False) -> None:
    """List the trained models that come with attnorm, or print one's card.

    Args:
        name: The model whose card is printed.
    """
    from huggingface_hub import ModelCard

    from attnorm.config import nearest

    shipped = shipped_models()
    if name is not None and name not in shipped:
        meant = nearest(name, shipped)
        raise UserError(f"no model {name!r} comes with attnorm{meant} (`attnorm models` lists them)")
    if as_json:
        found = describe(name) if name else [describe(each) for each in shipped]
        print(json.dumps(found, indent=1))
    elif name:
        print(ModelCard.load(shipped[name] / CARD_FILE).text.strip())
    else:
        print_table(HEAD, [_row(describe(each)) for each in shipped])


def describe(name: str) -> dict[str, Any]:
    """What the folder of a shipped model says, in plain types. metrics: value by name, the main one first."""
    from huggingface_hub import ModelCard

    from attnorm.models.pretrained import saved_config, task_of

    folder = shipped_models()[name]
    config = saved_config(folder)
    data = ModelCard.load(folder / CARD_FILE).data
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


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    metric, value = next(iter(model["metrics"].items()), ("", None))
    size = f"{model['size']}×{model['size']}"
    measured = f"{metric} {value:.4g}" if value is not None else "not measured"
    return (model["name"], model["task"], size, str(len(model["classes"]) or "-"), model["data"], measured)
