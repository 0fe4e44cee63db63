"""`attnorm reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from attnorm.cli.arguments import AtLeast0, AtLeast1, Data, Fields
from attnorm.errors import UserError


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

    Finished runs are kept: stop it at any time, and start it again.

    Args:
        table: Which table of the paper.
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
    changes = parse_overrides(list(fields), get_preset(f"{next(iter(paper.rows))}-{paper.scales[scale].presets}"))
    if "seed" in changes:
        raise UserError("--seed is the seed of one run: give --seeds")
    protocol = {"extractor": extractor, "num": num, "per-class": per_class}
    plan = Reproduction(
        table=table,
        scale=scale,
        out=out,
        data=str(source),
        seeds=tuple(dict.fromkeys(seeds or [0])),
        changes=changes,
        protocol={name: value for name, value in protocol.items() if value is not None},
    )
    if not paper.is_inpainting and not all(plan.values(*run) for run in plan.runs()):
        load_extractor(plan.options()["extractor"])  # a wrong path is reported now, not after days of training
    code = make_runs(plan, lambda line: print(line, flush=True), lambda: save_report(plan))
    path = save_report(plan)
    print(path.read_text(encoding="utf-8"))
    print(path)
    return code
