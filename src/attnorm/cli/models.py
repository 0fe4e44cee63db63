"""List the trained models that come with attnorm, or print the card of one."""

from __future__ import annotations

import argparse
import json
from typing import Any

from attnorm.config import nearest
from attnorm.errors import UserError
from attnorm.models.pretrained import saved_config, task_of
from attnorm.shipped import CARD_FILE, shipped_models

HEADS = ("name", "task", "size", "classes", "data", "metric")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="print this model's card")
    parser.add_argument("--json", action="store_true", help="for a script to read")


def run(args: argparse.Namespace) -> None:
    if args.name is not None:
        folder = shipped_models().get(args.name)
        if folder is None:
            meant = nearest(args.name, shipped_models())
            raise UserError(f"no model {args.name!r} comes with attnorm{meant} (`attnorm models` lists them)")
        if not args.json:
            print((folder / CARD_FILE).read_text(encoding="utf-8"), end="")
            return
    found = [describe(name) for name in shipped_models() if args.name in (None, name)]
    if args.json:
        print(json.dumps(found[0] if args.name else found, indent=1))
        return
    rows = [HEADS, *(_row(model) for model in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def describe(name: str) -> dict[str, Any]:
    """What its folder says of a shipped model, in plain types. metrics: value by name, the main one first."""
    from huggingface_hub import ModelCard

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
    figure, value = next(iter(model["metrics"].items()), ("", None))
    metric = f"{figure} {value:.4g}" if value is not None else "not measured"
    size = f"{model['size']}×{model['size']}"
    return (model["name"], model["task"], size, str(len(model["classes"]) or "-"), model["data"], metric)
