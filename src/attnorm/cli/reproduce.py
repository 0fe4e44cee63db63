"""`attnorm reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from attnorm.cli.arguments import AtLeast0, AtLeast1, Data
from attnorm.errors import UserError

RunSeed = Annotated[int, Parameter(validator=Number(gte=0, lt=1 << 32))]


def reproduce(
    table: Literal["table1", "table2", "table3", "table4"],
    /,
    *,
    out: Path,
    scale: Literal["cpu", "cifar10", "paper"] = "cpu",
    data: Data | None = None,
    val_data: Data | None = None,
    seeds: list[RunSeed] | None = None,
    steps: AtLeast1 | None = None,
    phase_1_steps: Annotated[AtLeast0 | None, Parameter(name="--phase-1-steps")] = None,
    lr_schedule: Literal["linear", "cosine"] | None = None,
    extractor: str | None = None,
    num: AtLeast1 | None = None,
    per_class: AtLeast1 | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> int:
    """Train and evaluate the systems of a table of the paper, and write our metrics beside the paper's.

    Finished runs are kept: stop it at any time, and start it again.

    Args:
        table: Which table of the paper.
        out: Folder for the runs and TABLE.md.
        scale: Size of networks and training.
        data: Images to train on (at scale cpu: the table's built-in set).
        val_data: For table3: validation images (default: a share of the data, held out).
        seeds: One run of each system per seed (default 0).
        steps: Steps of every run (default: the presets' own).
        phase_1_steps: For table3: steps before the adversarial loss (default: 60 % of the steps).
        lr_schedule: How learning rates fall to 0 at the end of each phase (default: the presets' own).
        extractor: Feature network of the metrics (default: the scale's).
        num: Images to evaluate with (default: the scale's).
        per_class: Images of each class for the intra-FID (default: the scale's).
    """
    from attnorm.data.builtin import BUILTIN
    from attnorm.data.loading import check_exists
    from attnorm.files import check_folder
    from attnorm.metrics.features import load_extractor
    from attnorm.reproduction.paper import TABLES
    from attnorm.reproduction.report import save_report
    from attnorm.reproduction.runs import Reproduction, make_runs

    paper = TABLES[table]
    if scale not in paper.scales:
        raise UserError(f"--scale {scale} is not one of {table}: choose from {', '.join(paper.scales)}")
    if paper.is_inpainting and (extractor or per_class):
        raise UserError(f"{table} needs no feature network: leave --extractor and --per-class out")
    if not paper.is_inpainting and (val_data or phase_1_steps is not None):
        raise UserError(f"--val-data and --phase-1-steps are for table3: leave them out of {table}")
    source = data or paper.scales[scale].data
    if source is None:
        raise UserError(f"--scale {scale} needs --data: the images to train on")
    for place in (source, val_data):
        if place is not None and place not in BUILTIN:
            check_exists(Path(place))
    check_folder(out)
    changes: dict[str, object] = {"steps": steps, "lr_schedule": lr_schedule, "phases.at_step": phase_1_steps}
    changes |= {"val_data": str(val_data) if val_data else None, "device": None if device == "auto" else device}
    protocol = {"extractor": extractor, "num": num, "per-class": per_class}
    plan = Reproduction(
        table=table,
        scale=scale,
        out=out,
        data=str(source),
        seeds=tuple(dict.fromkeys(seeds or [0])),
        changes={name: value for name, value in changes.items() if value is not None},
        protocol={name: value for name, value in protocol.items() if value is not None},
    )
    if not paper.is_inpainting and not all(plan.values(*run) for run in plan.runs()):
        load_extractor(plan.options()["extractor"])  # a wrong path is reported now, not after days of training
    code = make_runs(plan, lambda line: print(line, flush=True), lambda: save_report(plan))
    path = save_report(plan)
    print(path.read_text(encoding="utf-8"))
    print(path)
    return code
