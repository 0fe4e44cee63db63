"""Which task a model is for."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import hf_hub_download

from attnorm.pipelines import find_model
from attnorm.training.inpainting import InpaintingConfig
from attnorm.training.loop import CONFIG, read_config


def is_inpainter(source: str) -> bool:
    """Whether a run, a saved model or one of the hub completes pictures; a damaged one is said not to.

    Raises:
        UserError: nothing at `source` is a run or a model.
    """
    if (Path(source) / CONFIG).is_file():
        return isinstance(read_config(Path(source)), InpaintingConfig)
    model = find_model(source)
    file = model / "config.json" if isinstance(model, Path) else hf_hub_download(model, "config.json")
    try:
        return "branch" in json.loads(Path(file).read_text("utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):  # the loader says what is wrong with it
        return False
