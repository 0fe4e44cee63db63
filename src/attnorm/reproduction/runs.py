"""The runs of a table, made by commands that a user can also type.

All state is on disk: a run with a configuration is resumed, one at its last step is evaluated, one with a record is
done. A table can therefore be stopped at any time and started again.
"""

import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnorm.config import derive, differences
from attnorm.errors import UserError
from attnorm.metrics.records import read_records
from attnorm.presets import get_preset
from attnorm.reproduction.paper import CLASSES, TABLES, PaperTable
from attnorm.training.checkpoint import latest_step
from attnorm.training.config import TrainingConfig
from attnorm.training.loop import read_config, with_absolute_paths
from attnorm.training.run_folder import CHECKPOINTS, CONFIG, RECORDS

# Fields that `attnorm train` sets from the data and the machine.
SET_BY_TRAINING = ("precision", "generator.num_classes", "generator.class_names", "discriminator.num_classes")


@dataclass(frozen=True)
class Reproduction:
    """A table at a scale: what to train and how to evaluate it."""

    table: str
    scale: str
    out: Path
    data: str
    seeds: tuple[int, ...] = (0,)
    changes: dict[str, Any] = field(default_factory=dict)  # to the presets, by dotted field names
    protocol: dict[str, Any] = field(default_factory=dict)  # options of `attnorm evaluate` that override the scale's

    @property
    def paper(self) -> PaperTable:
        return TABLES[self.table]

    def preset(self, system: str) -> str:
        return f"{system}-{self.paper.scales[self.scale].presets}"

    def config(self, system: str, seed: int) -> TrainingConfig:
        """The configuration of a system, before the classes of its data are known."""
        name = self.preset(system)
        return derive(get_preset(name), {"data": self.data, "seed": seed, **self.changes}, f"preset {name}")

    def options(self, scale: str | None = None) -> dict[str, Any]:
        """The options of `attnorm evaluate` for this table, or those of another scale without overrides."""
        options = self.paper.scales[scale or self.scale].protocol | ({} if scale else self.protocol)
        return {name: value for name, value in options.items() if name != "per-class" or "intra" in self.paper.metrics}

    def runs(self) -> Iterator[tuple[str, int, Path]]:
        """System, seed and folder of each run, seed by seed, so that the table soon has all rows."""
        for seed in self.seeds:
            for system in self.paper.rows:
                yield system, seed, self.out / f"{self.preset(system)}-seed{seed}"

    def record_path(self, run: Path) -> Path:
        """The record of a run; its name differs by table and protocol."""
        options = {name: Path(str(value)).stem for name, value in self.options().items()}
        return run / RECORDS / f"{'-'.join([*self.paper.metrics, *(f'{k}-{v}' for k, v in options.items())])}.json"

    def values(self, system: str, seed: int, run: Path) -> dict[str, float] | None:
        """The results of a finished run by column, or by class in Table 2; None if there are none yet."""
        path = self.record_path(run)
        if not path.is_file():
            return None
        records = read_records(path)
        if self.paper.is_inpainting:
            refined = {one.metric.partition("/")[0]: one.values for one in records if one.metric.endswith("/refined")}
            names = self.paper.metrics.items()
            values = {f"{name}, {kind}": found[key] for kind, found in refined.items() for key, name in names}
        elif self.table == "table2":
            by_class: Any = records[0].details["by_class"]
            values = dict(by_class)
        else:
            values = {one.metric: next(iter(one.values.values())) for one in records}
        return values if records[0].protocol.step == self.config(system, seed).steps else None

    def train_command(self, system: str, seed: int, run: Path) -> list[str]:
        changes = {name: "null" if value is None else str(value) for name, value in self.changes.items()}
        fields = [word for name, value in changes.items() for word in (f"--{name}", value)]
        return ["train", self.preset(system), "--data", self.data, "--out", str(run), "--seed", str(seed), *fields]

    def evaluate_command(self, run: Path) -> list[str]:
        command = ["evaluate", str(run), "--device", str(self.changes.get("device", "auto"))]
        if not self.paper.is_inpainting:
            command += ["--metrics", *self.paper.metrics]
        command += [word for name, value in self.options().items() for word in (f"--{name}", str(value))]
        if self.table == "table2" and self.scale == "paper":
            command += ["--classes", *map(str, CLASSES)]
        return [*command, "--out", str(self.record_path(run)), "--force"]


def make_runs(plan: Reproduction, say: Callable[[str], None], after_each: Callable[[], object]) -> int:
    """Trains and evaluates what is missing; returns 0, or the exit code of the last command that failed.

    A run that fails, for example because it diverged, does not end the others; a signal does. Raises a UserError if a
    setting is invalid, or an existing run was started with other settings.
    """
    for config, run in [(plan.config(system, seed), run) for system, seed, run in plan.runs()]:
        if (run / CONFIG).exists():
            fields = (name for name, _, _ in differences(with_absolute_paths(config), read_config(run)))
            if differing := ", ".join(name for name in fields if name not in SET_BY_TRAINING):
                raise UserError(f"{run} was started with another {differing}: give the same, or another --out")
    failed = 0
    for system, seed, run in plan.runs():
        for command in _missing(plan, system, seed, run):
            say(f"$ attnorm {shlex.join(command)}")
            if code := _call([sys.executable, "-m", "attnorm", *command]):
                if code >= 128:
                    say(f"stopped with exit code {code}; the same command continues from here")
                    return code
                say(f"{run} ended with exit code {code}; the same command tries it again")
                failed = code
                break
        after_each()
    return failed


def _missing(plan: Reproduction, system: str, seed: int, run: Path) -> Iterator[list[str]]:
    """The commands that a run still needs; each is determined after the previous one has ended."""
    if not (run / CONFIG).exists():
        yield plan.train_command(system, seed, run)
    elif (latest_step(run / CHECKPOINTS) or 0) < plan.config(system, seed).steps:
        yield ["resume", str(run)]
    if plan.values(system, seed, run) is None:
        yield plan.evaluate_command(run)


def _call(command: Sequence[str]) -> int:
    """Runs a command and returns its exit code. Ctrl-C reaches it directly; SIGTERM is forwarded."""
    with subprocess.Popen(command) as child:
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        terminate = signal.signal(signal.SIGTERM, lambda number, frame: child.send_signal(number))
        code = child.wait()
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)
    return code if code >= 0 else 128 - code
