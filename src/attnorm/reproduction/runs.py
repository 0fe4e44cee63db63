"""The runs behind a table, each made by the commands that a person would type, each step of which can be repeated.

All state is on disk: a run that has its configuration is resumed, one that has its last step is measured, one that has
its record is done. So a table can be stopped at any moment and asked for again.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from attnorm.config import derive, differences
from attnorm.errors import UserError
from attnorm.metrics.evaluation import find_metrics
from attnorm.metrics.inpainting import MASKS
from attnorm.metrics.records import Record, read_records
from attnorm.presets import get_preset
from attnorm.reproduction.curves import save_run_curves
from attnorm.reproduction.paper import CLASSES, TABLES, PaperTable, Scale
from attnorm.training.checkpoint import latest_step
from attnorm.training.class_conditional import ClassConditionalConfig
from attnorm.training.config import TrainingConfig
from attnorm.training.inpainting import InpaintingConfig
from attnorm.training.loop import read_config
from attnorm.training.run_folder import CHECKPOINTS, CONFIG
from attnorm.training.runtime import resolve_device

Say = Callable[[str], None]


@dataclass(frozen=True)
class Reproduction:
    """A table at a scale: what is trained and how it is measured.

    source: what the runs are trained on. steps, lr_schedule: as in `TrainingConfig`, None for the presets' own.
    launcher: what stands before `attnorm`, such as `python -m` or `torchrun --nproc-per-node 4 -m --`.

    Of inpainting only: val_source, the validation pictures, empty for a share of `source`; phase_1_steps, None to end
    phase 1 where the preset's criterion does.

    per_class: images that an intra-FID generates of each class, None for as many as the scale does.
    """

    table: str
    scale: str
    out: Path
    source: str
    seeds: tuple[int, ...]
    steps: int | None
    extractor: str
    num: int
    device: Literal["auto", "cpu", "cuda"]
    launcher: tuple[str, ...] = (sys.executable, "-m")
    val_source: str = ""
    phase_1_steps: int | None = None
    lr_schedule: Literal["linear", "cosine"] | None = None
    per_class: int | None = None

    @property
    def by_class(self) -> list[str]:
        """Options of `attnorm evaluate` for an intra-FID: of Table 2's classes alone where the data are the paper's."""
        if "intra" not in self.paper.metrics:
            return []
        classes = ["--classes", *map(str, CLASSES)] if self.has_paper_classes else []
        return ["--per-class", str(self.images_per_class), *classes]

    @property
    def has_paper_classes(self) -> bool:
        return self.table == "table2" and self.scale == "paper"

    @property
    def images_per_class(self) -> int:
        return self.size.per_class if self.per_class is None else self.per_class

    @property
    def paper(self) -> PaperTable:
        return TABLES[self.table]

    @property
    def size(self) -> Scale:
        return self.paper.scales[self.scale]

    def config(self, system: str, seed: int) -> TrainingConfig:
        """What the run of a system is trained with, before its data are known."""
        name = f"{system}-{self.size.data}"
        changes: dict[str, Any] = {"seed": seed, "data": self.source, "device": self.device}
        changes |= {} if self.steps is None else {"steps": self.steps}
        changes |= {} if self.lr_schedule is None else {"lr_schedule": self.lr_schedule}
        if isinstance(get_preset(name), InpaintingConfig):
            changes |= {"val_data": self.val_source}
            changes |= {} if self.phase_1_steps is None else {"phases.at_step": self.phase_1_steps}
        return derive(get_preset(name), changes, f"the run of {system}")

    def runs(self) -> Iterator[tuple[str, int, Path]]:
        """System, seed and folder; seed after seed, so that a whole table is there early."""
        for seed in self.seeds:
            for system in self.paper.printed:
                yield system, seed, self.out / f"{system}-{self.size.data}-seed{seed}"

    def record_path(self, run: Path) -> Path:
        """Where a run's figures are; the name tells tables that share a run apart."""
        if self.paper.task == "inpainting":
            return run / "metrics" / f"inpainting-n{self.num or 'all'}.json"
        real = [] if self.size.num_real is None else [f"real-{self.size.num_real or 'all'}"]
        frequencies = [] if self.size.frequencies == "data" else [self.size.frequencies]
        by_class = [f"per-class{self.images_per_class}"] if "intra" in self.paper.metrics else []
        parts = [*self.paper.metrics, Path(self.extractor).stem, f"n{self.num}", *real, *frequencies, *by_class]
        return run / "metrics" / f"{'-'.join(parts)}.json"

    def results(self, run: Path, steps: int) -> list[Record] | None:
        """The figures of a finished run in the order of the table's metrics, None if they are not there yet.

        Raises:
            UserError: what is there cannot be read, or has other figures than the table.
        """
        path = self.record_path(run)
        if not path.is_file():
            return None
        results = read_records(path)
        if not results or results[0].protocol.step != steps:
            return None
        self._check_results(path, results)
        return results

    def inpainting_records(self, run: Path, steps: int) -> dict[str, Record] | None:
        """What was measured of a finished inpainting run by name, None if it is not there yet; raises as `results`."""
        path = self.record_path(run)
        records = {one.metric: one for one in read_records(path)} if path.is_file() else {}
        if not records or next(iter(records.values())).protocol.step != steps:
            return None
        has_all = all(set(self.paper.metrics) <= one.values.keys() for one in records.values())
        if not has_all or not {f"{kind}/refined" for kind in MASKS} <= records.keys():
            raise self._other_figures(path)
        return records

    def is_measured(self, run: Path, steps: int) -> bool:
        found = self.inpainting_records if self.paper.task == "inpainting" else self.results
        return found(run, steps) is not None

    def _check_results(self, path: Path, results: Sequence[Record]) -> None:
        metrics = find_metrics(self.paper.metrics)
        if len(results) != len(metrics):
            raise self._other_figures(path)
        for metric, result in zip(metrics, results, strict=True):
            named = result.metric.startswith((f"{metric.stem}-", f"{metric.standard}-"))
            if metric.by_class:
                same = result.details.get("per_class") == self.images_per_class and result.details.get("by_class")
            else:
                same = result.protocol.num == self.num
            if not (named and same):
                raise self._other_figures(path)

    def _other_figures(self, path: Path) -> UserError:
        return UserError(
            f"{path} has other figures than {self.table} ({', '.join(self.paper.metrics)}): remove it, and the same "
            "command measures again"
        )


def make_runs(plan: Reproduction, say: Say, after_each: Callable[[], None]) -> int:
    """Trains and measures what is missing; returns 0, or the exit code of the command that stopped.

    Raises:
        UserError: a run's folder was begun with other settings.
    """
    for system, seed, run in plan.runs():
        _check_settings(plan, system, seed, run)
    for system, seed, run in plan.runs():
        config = plan.config(system, seed)
        for command in _missing(plan, system, config, run):
            say(f"$ attnorm {shlex.join(command)}")
            code = _call([*plan.launcher, "attnorm", *command])
            if code:
                say(f"stopped with exit code {code}; the same command goes on from here")
                return code
        save_run_curves({run.name: run for _, _, run in plan.runs()}, plan.out / f"{plan.table}-curves.png")
        after_each()
    return 0


def commands(plan: Reproduction) -> list[str]:
    """Every command of the table, as a person would type it."""
    lines = []
    for system, seed, run in plan.runs():
        lines += [f"attnorm {shlex.join(part)}" for part in (_train(plan, system, seed, run), _evaluate(plan, run))]
    return lines


def _missing(plan: Reproduction, system: str, config: TrainingConfig, run: Path) -> Iterator[list[str]]:
    """The commands that a run still needs; each is looked for after the one before it has ended."""
    if not (run / CONFIG).exists():
        yield _train(plan, system, config.seed, run)
    elif (latest_step(run / CHECKPOINTS) or 0) < config.steps:
        yield ["resume", str(run)]
    if not plan.is_measured(run, config.steps):
        yield _evaluate(plan, run)


def _train(plan: Reproduction, system: str, seed: int, run: Path) -> list[str]:
    steps = [] if plan.steps is None else ["--steps", str(plan.steps)]
    device = [] if plan.device == "auto" else ["--device", plan.device]
    preset = f"{system}-{plan.size.data}"
    val = ["--val_data", plan.val_source] if plan.val_source else []
    switch = [] if plan.phase_1_steps is None else ["--phases.at_step", str(plan.phase_1_steps)]
    schedule = [] if plan.lr_schedule is None else ["--lr_schedule", plan.lr_schedule]
    own = [*steps, *device, *val, *switch, *schedule]
    return ["train", preset, "--data", plan.source, "--out", str(run), "--seed", str(seed), *own]


def _evaluate(plan: Reproduction, run: Path) -> list[str]:
    out = ["--out", str(plan.record_path(run)), "--force"]
    device = ["--device", resolve_device(plan.device).type]
    if plan.paper.task == "inpainting":  # its figures are always measured
        return ["evaluate", str(run), *(["--num", str(plan.num)] if plan.num else []), *out, *device]
    how = ["--extractor", plan.extractor, "--num", str(plan.num)]
    real = [] if plan.size.num_real is None else ["--num-real", str(plan.size.num_real)]
    frequencies = [] if plan.size.frequencies == "data" else ["--frequencies", plan.size.frequencies]
    how += [*real, *frequencies, *plan.by_class]
    return ["evaluate", str(run), "--metrics", *plan.paper.metrics, *how, *out, *device]


def _check_settings(plan: Reproduction, system: str, seed: int, run: Path) -> None:
    """Refuses a folder whose run is another one: its figures would stand in the wrong row."""
    if not (run / CONFIG).exists():
        return
    found = read_config(run)
    wanted = derive(plan.config(system, seed), {"precision": found.precision})
    if type(found) is not type(wanted):
        raise UserError(f"{run} holds a run of another task: choose another --out")
    if isinstance(wanted, ClassConditionalConfig) and isinstance(found, ClassConditionalConfig):
        wanted = wanted.for_classes(found.generator.class_names)
    differing = [name for name, _, _ in differences(wanted, found)]
    if differing:
        raise UserError(
            f"{run} was begun with other settings ({', '.join(differing)}): give those again, or another --out"
        )


def _call(command: Sequence[str]) -> int:
    """Runs a command to its end. Ctrl-C reaches it directly, SIGTERM is passed on; it saves, and then this one ends."""
    with subprocess.Popen(command) as child:
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
            signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, frame: child.send_signal(number)),
        }
        try:
            code = child.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return code if code >= 0 else 128 - code
