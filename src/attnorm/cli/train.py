"""`attnorm train` and `attnorm resume`."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from attnorm.cli.arguments import Data, Fields, Out, PresetName

Value = Annotated[str | None, Parameter(metavar="VALUE", show_default=lambda _: "from the preset")]


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """The fields of a preset that are changed most."""

    steps: Annotated[Value, Parameter(help="Steps to train.")] = None
    batch_size: Annotated[Value, Parameter(help="Images per step.")] = None
    seed: Annotated[Value, Parameter(help="Seed of the weights, the noise and the order of the images.")] = None
    device: Annotated[Value, Parameter(help="auto, cpu, cuda, cuda:1 or mps.")] = None
    precision: Annotated[Value, Parameter(help="auto, float32, bf16 or fp16.")] = None
    generator_lr: Annotated[Value, Parameter(help="Learning rate; also --discriminator-lr or --critic-lr.")] = None
    evaluate_every: Annotated[Value, Parameter(help="Steps between evaluations; the best model is kept.")] = None
    sample_every: Annotated[Value, Parameter(help="Steps between sample images.")] = None
    checkpoint_every: Annotated[Value, Parameter(help="Steps between checkpoints.")] = None
    init_from: Annotated[Value, Parameter(help="A run or model to start from, for other images or classes.")] = None
    log_to: Annotated[Value, Parameter(help="tensorboard, wandb, trackio or none, beside log.jsonl.")] = None


def train(preset: PresetName, /, *fields: Fields, data: Data, out: Out, common: Common = Common()) -> int:
    """Train a preset on a folder of images, parquet files, a prepared set or a built-in set.

    Ctrl-C saves a checkpoint and prints how to resume.

    Args:
        preset: A name from `attnorm presets`.
        fields: Any other field of the preset, as `--generator.channels 64 64 64 64`; `attnorm presets NAME` shows all.
        data: A folder of images or of a folder per class, parquet file(s), a prepared set, or a built-in set: digits
            or photos.
        out: The run's directory; must be new or empty.
    """
    _announce(f"training {preset} on {data}")
    from attnorm.config import derive, parse_overrides
    from attnorm.presets import get_preset
    from attnorm.training.loop import begin

    given = [f"--{name}={value}" for name, value in asdict(common).items() if value is not None]
    config = get_preset(preset)
    changes = parse_overrides([*given, *fields], config)
    return begin(derive(config, {**changes, "data": str(data)}, "command line"), out, fixed=list(changes))


def resume(run: Path, /, *fields: Fields) -> int:
    """Continue an interrupted run from its newest intact checkpoint, with the configuration saved in it.

    Args:
        run: The run's directory.
        fields: What may change: --steps (train to this step), --device, --log_to, and files that have moved but are
            the same: --data, --val_data, --masks.folder.
    """
    _announce(f"resuming {run}")
    from attnorm.config import parse_overrides
    from attnorm.training import loop

    return loop.resume(run, parse_overrides(list(fields), loop.read_config(run)))


def _announce(line: str) -> None:
    """The first thing that a person sees, before PyTorch is imported; by one of several processes."""
    if os.environ.get("RANK", "0") == "0":
        print(line, flush=True)
