"""A reproduced table as Markdown: our figures beside the paper's, and what differs between the two."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from attnorm.config import differences
from attnorm.errors import UserError
from attnorm.metrics.evaluation import PER_CLASS
from attnorm.metrics.inpainting import MASKS
from attnorm.metrics.records import HEADS, Record, markdown
from attnorm.presets import get_preset
from attnorm.reproduction.paper import CLASSES, NAMES
from attnorm.reproduction.runs import Reproduction, commands
from attnorm.training.class_conditional import ClassConditionalConfig
from attnorm.training.loop import read_config
from attnorm.training.run_folder import CONFIG

# Fields that say how a run is watched or where it is, not what is trained.
IMMATERIAL = (
    *("data", "val_data", "seed", "device", "log_every", "sample_every", "evaluate_every"),
    *("checkpoint_every", "keep_checkpoints"),
)
OF_NETWORKS = ("refined", "coarse")  # ways to fill of an inpainting record
MISSING = "–"
FIGURES = 4


def write_report(plan: Reproduction) -> str:
    """The table with what is measured so far; rows that are not there yet say how many of their runs are."""
    lines = [f"# {plan.paper.title}, at scale {plan.scale}", ""]
    if plan.paper.task == "inpainting":
        lines += [_by_fill(plan), ""]
    else:
        found = _found(plan)
        lines += [_by_class(plan, found) if plan.table == "table2" else _by_system(plan, found), ""]
        lines += [_comparability(plan), ""]
    lines += ["Mean ± standard deviation over seeds.", "", "## What differs from the paper", ""]
    lines += [f"- {difference}" for difference in _differences(plan)]
    lines += ["", "## Commands", "", *(f"    {command}" for command in commands(plan)), ""]
    return "\n".join(lines)


def _found(plan: Reproduction) -> dict[str, list[list[Record]]]:
    """The results of every finished run, by system."""
    found: dict[str, list[list[Record]]] = {system: [] for system in plan.paper.printed}
    for system, seed, run in plan.runs():
        results = plan.results(run, plan.config(system, seed).steps)
        if results is not None:
            found[system].append(results)
    return found


def _by_system(plan: Reproduction, found: dict[str, list[list[Record]]]) -> str:
    measured = next((runs[0] for runs in found.values() if runs), None)
    ours = [_title(result) for result in measured] if measured else list(plan.paper.metrics)
    rows = [["system", *(f"{column}, paper" for column in plan.paper.columns), *ours, "seeds"]]
    for system, printed in plan.paper.printed.items():
        runs = found[system]
        figures = [
            _mean([next(iter(results[index].values.values())) for results in runs])
            for index in range(len(plan.paper.metrics))
        ]
        paper = [MISSING if value is None else f"{value:g}" for value in printed]
        rows.append([NAMES[system], *paper, *figures, f"{len(runs)} of {len(plan.seeds)}"])
    return markdown(rows)


def _by_class(plan: Reproduction, found: dict[str, list[list[Record]]]) -> str:
    """A row per class: the paper's eight at its scale, else all."""
    systems = list(plan.paper.printed)
    by_class: dict[str, list[Any]] = {
        system: [results[0].details["by_class"] for results in found[system]] for system in systems
    }
    names = next((list(runs[0]) for runs in by_class.values() if runs), [])
    if any(set(one) != set(names) for runs in by_class.values() for one in runs):
        raise UserError(f"the runs in {plan.out} were measured on other classes each: measure them on the same data")
    is_imagenet = plan.has_paper_classes and len(names) == len(CLASSES)
    printed = CLASSES.values() if is_imagenet else [None] * len(names)
    shown = zip(names, printed, strict=True)
    rows = [["class", *(f"{NAMES[s]}, paper" for s in systems), *(f"{NAMES[s]}, ours" for s in systems)]]
    for name, row in shown:
        paper = [f"{value:g}" for value in row[1:]] if row else [MISSING] * len(systems)
        rows.append([name, *paper, *(_mean([one[name] for one in by_class[s]]) for s in systems)])
    return markdown(rows) if names else "No run is finished yet."


def _by_fill(plan: Reproduction) -> str:
    """A row a system, one for its coarse stage alone, and one for each fill without a network; both kinds of hole."""
    columns = [(kind, figure) for kind in MASKS for figure in plan.paper.metrics]
    heads = [f"{HEADS[figure]}, {kind}" for kind, figure in columns]
    rows = [["system", *(f"{column}, paper" for column in plan.paper.columns), *heads, "seeds"]]

    def row(name: str, printed: Sequence[float | None], runs: Sequence[dict[str, Record]], way: str) -> list[str]:
        paper = [MISSING if value is None else f"{value:g}" for value in printed]
        ours = [
            _mean([records[f"{kind}/{way}"].values[figure] for records in runs if f"{kind}/{way}" in records])
            for kind, figure in columns
        ]
        return [name, *paper, *ours, f"{len(runs)} of {len(plan.seeds)}"]

    nothing = [None] * len(plan.paper.columns)
    first: list[dict[str, Record]] = []
    for system, printed in plan.paper.printed.items():
        found = [
            plan.inpainting_records(run, plan.config(one, seed).steps)
            for one, seed, run in plan.runs()
            if one == system
        ]
        runs = [records for records in found if records is not None]
        first = first or runs[:1]
        rows.append(row(NAMES[system], printed, runs, "refined"))
        rows.append(row(f"{NAMES[system]}, coarse stage alone", nothing, runs, "coarse"))
    for records in first:  # what no network makes is the same for all of them
        ways = dict.fromkeys(name.partition("/")[2] for name in records)
        rows += [[*row(way, nothing, [records], way)[:-1], ""] for way in ways if way not in OF_NETWORKS]
    return markdown(rows)


def _comparability(plan: Reproduction) -> str:
    """Whether our columns may be compared with the paper's, and if not, why."""
    scale, paper = plan.size, plan.paper.scales["paper"]
    different = []
    if plan.scale != "paper":
        different.append(f"other data than {plan.paper.pictures}")
    if plan.extractor != paper.extractor:
        different.append(f"features of {plan.extractor} instead of {paper.extractor}")
    if plan.num != paper.num and set(plan.paper.metrics) - {"intra"}:
        different.append(f"{plan.num} generated images instead of {paper.num}")
    if "intra" in plan.paper.metrics and plan.images_per_class != paper.per_class:
        different.append(f"an intra-FID of {plan.images_per_class} images per class instead of {paper.per_class}")
    if scale.num_real != paper.num_real and "fd" in plan.paper.metrics:
        different.append("a part of the real images instead of all")
    if not different:
        return "Ours is measured with the paper's numbers of images, as far as the paper and its sources state them."
    return f"**Do not compare our numbers with the paper's**: ours have {', '.join(different)}."


def _title(result: Record) -> str:
    return f"{result.metric} {'↓' if result.better == 'lower' else '↑'}"


def _mean(values: Sequence[float]) -> str:
    """Mean and deviation over seeds. Of figures that are not all finite there is neither: a mean of the others would
    hide them.
    """
    if not values:
        return MISSING
    if len(values) > 1 and not all(map(math.isfinite, values)):
        return f"not finite in {sum(not math.isfinite(value) for value in values)} of {len(values)}"
    mean = f"{statistics.mean(values):.{FIGURES}g}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2g}"


def _differences(plan: Reproduction) -> list[str]:
    """What our runs have otherwise than the paper's, system by system where it is not the same for all."""
    per_system = {}
    for system in plan.paper.printed:
        ours, paper = plan.config(system, 0), get_preset(f"{system}-{plan.paper.scales['paper'].data}")
        per_system[system] = [
            f"`{name}` {_plain(ours_value)} instead of {_plain(paper_value)}"
            for name, ours_value, paper_value in differences(ours, paper)
            if name not in IMMATERIAL
        ]
    common = [one for one in next(iter(per_system.values())) if all(one in lines for lines in per_system.values())]
    lines = [f"data: `{plan.source}` instead of {plan.paper.pictures}"] if plan.scale != "paper" else []
    if plan.paper.task == "inpainting":
        count = "all" if not plan.num else str(plan.num)
        lines.append(
            f"measured on {count} validation pictures with squares of a quarter, centred and random, and strokes"
        )
    else:
        lines += _protocol(plan)
    lines += common
    for system, own in per_system.items():
        lines += [f"{NAMES[system]}: {one}" for one in own if one not in common]
    return lines


def _protocol(plan: Reproduction) -> list[str]:
    """How the generators are measured: the paper states the number of pictures only, its sources some of the rest."""
    measured = next((results[0].protocol for runs in _found(plan).values() for results in runs), None)
    if measured is not None:
        real: str | int = measured.settings["num_real"]
    else:
        real = "all" if plan.size.num_real == 0 else plan.num if plan.size.num_real is None else plan.size.num_real
    count = _class_count(plan)
    each = "as many of each class" if count is None else f"{plan.num / count:g} of each of {count} classes"
    if plan.size.frequencies == "data":
        each = f"each class as often as in the data{'' if count is None else f', {plan.num / count:g} on average'}"
    lines = [
        f"generated pictures: {plan.num}{'' if plan.num == 50_000 else ' instead of 50000'}, {each}",
        f"real pictures: {real}; the paper does not say, the papers before it usually take all of the training set",
        "weights: averaged; the paper does not say, SN-GAN's and SA-GAN's are not",
        "discriminator: the AN supplementary's for every system (5 wide blocks, concatenation); SN-GAN's paper has 6 "
        "narrow blocks and a projection, SA-GAN's 6 wide ones",
        "λ_o and the data's preparation, which the paper does not give, are ours",
    ]
    if "intra" in plan.paper.metrics:
        lines.append(
            f"intra-FID: {plan.images_per_class} generated images of each class against all real images of the class; "
            f"the paper does not say how many, SN-GAN's code takes {PER_CLASS}"
        )
    if plan.extractor != "inception":
        lines.append(f"network of the metrics: {plan.extractor} instead of Inception")
    return lines


def _class_count(plan: Reproduction) -> int | None:
    """Of the data, once a run has seen them."""
    for _, _, run in plan.runs():
        config = read_config(run) if (run / CONFIG).is_file() else None
        if isinstance(config, ClassConditionalConfig):
            return config.generator.num_classes
    return None


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
