"""The commands that train: `attnorm train`, `resume` and `reproduce`."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from attnorm.cli.arguments import AtLeast0, AtLeast1, Choice, Data, Fields, Out, PresetName
from attnorm.data.choice import DEFAULT
from attnorm.errors import UserError

Value = Annotated[str | None, Parameter(metavar="VALUE", show_default=False)]


@Parameter(name="*", group=Group("Fields of the preset that are changed most (default: as in the preset)", sort_key=1))
@dataclass(frozen=True)
class Common:
    """The most frequently changed fields of a preset."""

    steps: Annotated[Value, Parameter(help="Steps to train.")] = None
    batch_size: Annotated[Value, Parameter(help="Images per step.")] = None
    seed: Annotated[Value, Parameter(help="Seed of weights, noise and the order of images.")] = None
    device: Annotated[Value, Parameter(help="auto, cpu, cuda, cuda:1 or mps.")] = None
    precision: Annotated[Value, Parameter(help="auto, float32, bf16 or fp16.")] = None
    generator_lr: Annotated[Value, Parameter(help="Learning rate; also --discriminator-lr or --critic-lr.")] = None
    evaluate_every: Annotated[Value, Parameter(help="Steps between evaluations; the best model is kept.")] = None
    sample_every: Annotated[Value, Parameter(help="Steps between sample images.")] = None
    checkpoint_every: Annotated[Value, Parameter(help="Steps between checkpoints.")] = None
    init_from: Annotated[Value, Parameter(help="A run, checkpoint or model with the initial weights.")] = None
    log_to: Annotated[Value, Parameter(help="tensorboard, wandb, trackio or none, in addition to log.jsonl.")] = None


def train(
    preset: PresetName, /, *fields: Fields, data: Data, out: Out, choice: Choice = DEFAULT, common: Common = Common()
) -> int:
    """Train a preset on images: a folder, an archive, parquet files, a prepared set or a built-in set.

    Ctrl-C saves a checkpoint and prints how to resume.

    Args:
        preset: A name from `attnorm presets`.
        fields: Any field of the preset, as --generator.channels 64 64 64 64; `attnorm presets PRESET` shows them all.
        data: A folder of images, digits or photos (built in), as for `attnorm data prepare`; or a prepared folder.
        out: The run's directory; must be new or empty.
    """
    _announce(f"training {preset} on {data}")
    from attnorm.config import derive, parse_overrides
    from attnorm.presets import get_preset
    from attnorm.training.loop import begin

    given = [f"--{name}={value}" for name, value in (asdict(common) | asdict(choice)).items() if value is not None]
    config = get_preset(preset)
    changes = parse_overrides([*given, *fields], config)
    return begin(derive(config, {**changes, "data": str(data)}, "command line"), out, fixed=list(changes))


def resume(run: Path, /, *fields: Fields) -> int:
    """Continue an interrupted run from its newest intact checkpoint, with the configuration saved in it.

    Args:
        run: The run's directory.
        fields: What may change: --steps (train to this step), --device, --log_to, and the paths of moved files: --data,
            --val_data, --masks.folder.
    """
    _announce(f"resuming {run}")
    from attnorm.config import parse_overrides
    from attnorm.training import loop

    return loop.resume(run, parse_overrides(list(fields), loop.read_config(run)))


def reproduce(
    table: Literal["table1", "table2", "table3", "table4"],
    /,
    *fields: Fields,
    out: Path,
    scale: Literal["cpu", "cifar10-cpu", "cifar10", "paper"] = "cpu",
    data: Data | None = None,
    seeds: list[AtLeast0] | None = None,
    extractor: str | None = None,
    num: AtLeast1 | None = None,
    per_class: AtLeast1 | None = None,
) -> int:
    """Train and evaluate the systems of a table of the paper, and write our metrics beside the paper's.

    You can stop it at any time; the same command continues.

    Args:
        table: The table of the paper.
        fields: Fields of every run, as for `attnorm train`: `--steps 2000 --device cuda`.
        out: Folder for the runs and TABLE.md.
        scale: Size of networks and training.
        data: Images to train on (at scale cpu: the table's built-in set).
        seeds: One run of each system per seed (default 0).
        extractor: Feature network of the metrics (default: the scale's).
        num: Images to evaluate with (default: the scale's).
        per_class: Images of each class for the intra-FID (default: the scale's).
    """
    from attnorm.config import parse_overrides
    from attnorm.files import check_folder
    from attnorm.metrics.features import load_extractor
    from attnorm.presets import get_preset
    from attnorm.reproduction.paper import TABLES
    from attnorm.reproduction.report import save_report
    from attnorm.reproduction.runs import Reproduction, make_runs

    paper = TABLES[table]
    if scale not in paper.scales:
        raise UserError(f"--scale {scale} is not one of {table}: choose from {', '.join(paper.scales)}")
    if paper.is_inpainting and (extractor or per_class):
        raise UserError(f"{table} needs no feature network: leave --extractor and --per-class out")
    source = data or paper.scales[scale].data
    if source is None:
        raise UserError(f"--scale {scale} needs --data: the images to train on")
    check_folder(out)
    preset = get_preset(f"{next(iter(paper.rows))}-{paper.scales[scale].presets}")
    if "seed" in (changes := parse_overrides(list(fields), preset)):
        raise UserError("--seed is the seed of one run: give --seeds")
    protocol = {"extractor": extractor, "num": num, "per-class": per_class}
    given = {name: value for name, value in protocol.items() if value is not None}
    plan = Reproduction(table, scale, out, str(source), tuple(dict.fromkeys(seeds or [0])), changes, given)
    if not paper.is_inpainting and not all(plan.values(*run) for run in plan.runs()):
        load_extractor(plan.options()["extractor"])  # a wrong path is reported now, not after days of training
    code = make_runs(plan, lambda line: print(line, flush=True), lambda: save_report(plan))
    path = save_report(plan)
    print(path.read_text(encoding="utf-8"), path, sep="\n")
    return code


def _announce(line: str) -> None:
    """Prints the first line, before PyTorch is imported; in one process only."""
    if os.environ.get("RANK", "0") == "0":
        print(line, flush=True)
