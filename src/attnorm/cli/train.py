"""`attnorm train` and `attnorm resume`."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from attnorm.cli.arguments import Data, Out, PresetName


@Parameter(name="*", show_default=lambda value: "from the preset")
@dataclass(frozen=True)
class Common:
    """The fields of a preset that are changed most.

    Args:
        steps: Steps to train.
        batch_size: Images per step.
        seed: Of the weights, the noise and the order of the images.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: auto, float32 or bf16.
        generator_lr: The generator's learning rate; --discriminator_lr or --critic_lr is its opponent's.
        evaluate_every: Steps between evaluations, 0 for none; the best model is kept.
        sample_every: Steps between sample images.
        checkpoint_every: Steps between checkpoints.
        init_from: A run or model to start from, to fine-tune it on other images or classes.
        log_to: tensorboard, wandb, trackio or none, beside the run's log.jsonl.
    """

    steps: int | None = None
    batch_size: int | None = None
    seed: int | None = None
    device: str | None = None
    precision: str | None = None
    generator_lr: float | None = None
    evaluate_every: int | None = None
    sample_every: int | None = None
    checkpoint_every: int | None = None
    init_from: str | None = None
    log_to: str | None = None


def train(
    preset: PresetName,
    /,
    *fields: Annotated[str, Parameter(allow_leading_hyphen=True)],
    data: Data,
    out: Out,
    common: Common = Common(),
) -> int:
    """Train a preset on a folder of images, parquet files, a prepared set or a built-in set.

    Ctrl-C saves a checkpoint and prints how to resume.

    Args:
        preset: A name from `attnorm presets`.
        fields: Any other field of the preset, as `--generator.channels 64 64 64 64`; `attnorm presets NAME` shows all.
        data: A folder of images or of a folder per class, parquet file(s), a prepared set or a built-in set.
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


def resume(
    run: Path,
    /,
    *fields: Annotated[str, Parameter(allow_leading_hyphen=True)],
    steps: int | None = None,
    data: Data | None = None,
    device: str | None = None,
) -> int:
    """Continue an interrupted run from its newest intact checkpoint, with the configuration saved in it.

    Args:
        run: The run's directory.
        fields: Other files that have moved, as --val_data or --masks.folder, or another --log-to.
        steps: Train to this step instead of the one in the run's config.yaml.
        data: Where the images are now, if they have moved; they must be the same.
        device: auto, cpu, cuda, cuda:1 or mps.
    """
    _announce(f"resuming {run}")
    from attnorm.config import parse_overrides
    from attnorm.training import loop

    given = {"steps": steps, "data": data, "device": device}
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return loop.resume(run, parse_overrides([*words, *fields], loop.read_config(run)))


def _announce(line: str) -> None:
    """The first thing that a person sees, before PyTorch is imported; by one of several processes."""
    if os.environ.get("RANK", "0") == "0":
        print(line, flush=True)
