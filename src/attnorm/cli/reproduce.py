"""`attnorm reproduce`."""

from __future__ import annotations

import shlex
import shutil
import sys
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
    launcher: str | None = None,
) -> int:
    """Train and evaluate the systems of a table of the paper, and write our metrics beside the paper's.

    What is already there is kept: stop it at any time, and start it again.

    Args:
        table: Which table of the paper.
        out: Folder for the runs and TABLE.md.
        scale: Size of networks and training.
        data: Images to train on (at scale cpu: the table's built-in set).
        val_data: For table3: validation images (default: a share of the data, held out).
        seeds: One run of each system per seed (default 0).
        steps: Steps of every run (default: the presets' own).
        phase_1_steps: For table3: steps before the adversarial loss (default: until the error converges).
        lr_schedule: How learning rates fall to 0 at the end of each phase (default: the presets' own).
        extractor: Network of the metrics (default: the scale's).
        num: Images to evaluate with (default: the scale's).
        per_class: Images of each class for the intra-FID (default: the scale's).
        launcher: torchrun with its options, for several processes (default: one).
    """
    from attnorm.data.builtin import BUILTIN
    from attnorm.data.loading import check_exists
    from attnorm.files import check_folder, output_file
    from attnorm.metrics.features import load_extractor
    from attnorm.reproduction.paper import TABLES
    from attnorm.reproduction.report import write_report
    from attnorm.reproduction.runs import Reproduction, make_runs

    paper = TABLES[table]
    if scale not in paper.scales:
        raise UserError(f"--scale {scale} is not one of {table}: choose from {', '.join(paper.scales)}")
    if paper.task == "inpainting" and extractor:
        raise UserError(f"{table} needs no feature network: leave --extractor out")
    if paper.task != "inpainting" and (val_data or phase_1_steps is not None):
        raise UserError(f"--val-data and --phase-1-steps are for table3: leave them out of {table}")
    chosen = paper.scales[scale]
    source = data or chosen.source
    if source is None:
        raise UserError(f"--scale {scale} needs --data: the images to train on")
    words = shlex.split(launcher) if launcher else []
    if words and shutil.which(words[0]) is None:
        raise UserError(f"--launcher {launcher!r}: there is no such program here, give one such as torchrun")
    for place in (source, val_data):
        if place is not None and place not in BUILTIN:
            check_exists(Path(place))
    check_folder(out)
    plan = Reproduction(
        table=table,
        scale=scale,
        out=out,
        source=str(source),
        seeds=tuple(dict.fromkeys(seeds or [0])),
        steps=steps,
        lr_schedule=lr_schedule,
        extractor=extractor or chosen.extractor,
        num=chosen.num if num is None else num,
        device=device,
        val_source=str(val_data or ""),
        phase_1_steps=phase_1_steps,
        per_class=per_class,
        # Without the dashes torchrun would take our options for abbreviations of its own.
        launcher=(*words, "-m", "--") if words else (sys.executable, "-m"),
    )
    runs = list(plan.runs())
    if plan.extractor and not all(plan.is_measured(run, plan.config(name, seed).steps) for name, seed, run in runs):
        load_extractor(plan.extractor)  # a problem with the network shows now, not after days of training
    page = out / f"{table}.md"

    def write() -> None:
        with output_file(page) as partial:
            partial.write_text(write_report(plan), encoding="utf-8")

    code = make_runs(plan, lambda line: print(line, flush=True), write)
    write()
    print(write_report(plan))
    print(page)
    return code
