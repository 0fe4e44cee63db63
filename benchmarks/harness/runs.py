"""Short runs of both tasks through the real command line, and the comparison of two runs bit by bit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from attnorm.training import checkpoint

CLOCK = ("time", "steps_per_second", "images_per_second")  # fields of the log that depend on the time
LONGEST_SECONDS = 600.0  # a command that takes longer hangs
PATIENCE_SECONDS = 30.0  # until killed processes must be gone
# Names of files that are written aside; a finished run must have none.
ASIDE = re.compile(r"\.partial(-\d+)?$")


@dataclass(frozen=True, eq=False)
class Kind:
    """A task with networks so small that the program takes longer to start than to train."""

    name: str
    preset: str
    settings: Mapping[str, str]

    def train(self, run: Path, *more: str) -> list[str]:
        """The arguments of `attnorm` that start a run; `more` are fields that override the settings."""
        fields = [part for name, value in self.settings.items() for part in (f"--{name}", *value.split())]
        return ["train", self.preset, "--data", "digits", "--out", str(run), *fields, *more]


_COMMON = {
    "batch_size": "4",
    "steps": "12",
    "log_every": "3",
    "sample_every": "4",
    "checkpoint_every": "2",
    "log_to": "none",
    "device": "cpu",
    "precision": "float32",
}
CLASS_CONDITIONAL = Kind(
    "class-conditional",
    "an-gan-digits",
    {
        **_COMMON,
        "generator.channels": "8 8 8 8",
        "generator.latent_dim": "8",
        "generator.long_range.num_entities": "4",
        "discriminator.channels": "8 8 8 8",
        "discriminator.embedding_dim": "8",
        "discriminator.long_range.num_entities": "4",
        "standing_batches": "2",
        "sample_rows": "3",
        "sample_columns": "2",
    },
)
INPAINTING = Kind(
    "inpainting",
    "inpaint-an-64-cpu",
    {
        **_COMMON,
        "generator.image_size": "32",
        "generator.width": "4",
        "generator.branch.num_entities": "4",
        "critic.image_size": "32",
        "critic.local_size": "16",
        "critic.width": "4",
        "crop_from": "36",
        "critic_steps": "2",
        "evaluate_every": "4",
        "val_num": "6",
        "sample_rows": "2",
        "phases.at_step": "6",  # half of the steps in each phase
    },
)
KINDS = (CLASS_CONDITIONAL, INPAINTING)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "attnorm", *map(str, arguments)]


def torchrun(processes: int, *arguments: str | Path) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    # Without the dashes, torchrun takes our options for abbreviations of its own.
    return [*launcher, "-m", "--", "attnorm", *map(str, arguments)]


def environment() -> dict[str, str]:
    """One thread per process, so that sums do not depend on the machine; and no network."""
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    """Starts a command in a session of its own, so that signals for the harness do not reach it."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        arguments, env=environment(), stdout=pipe, stderr=pipe, text=True, errors="replace", start_new_session=True
    )


def finish(process: subprocess.Popen[str], seconds: float = LONGEST_SECONDS) -> tuple[str, str]:
    """Waits for a command to end; returns its stdout and stderr.

    A command that takes longer is killed with all its children. Its exit code is then that of the kill, and stderr says
    so.
    """
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        end(process)
        process.returncode = -signal.SIGKILL  # also if only its children were left
        try:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            out, err = "", "a child process could not be ended; "
        return out, f"{err}did not end within {seconds:.0f} s and was killed"
    except BaseException:  # such as Ctrl-C
        end(process)
        raise


def end(process: subprocess.Popen[Any]) -> None:
    """Kills a process and all its descendants, including those that torchrun has put into their own sessions."""
    for pid in [process.pid, *_descendants(process.pid)] if process.poll() is None else ():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has just ended
            for child in map(int, task.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[Any], seconds: float, pause: float) -> None:
    """Waits until `happened()` is true or the process has ended.

    Raises:
        RuntimeError: neither came in time; the process is then killed.
    """
    deadline = time.monotonic() + seconds
    try:
        while process.poll() is None and not happened():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the expected event did not happen within {seconds:.0f} s; the process was killed")
            time.sleep(pause)
    except BaseException:  # Ctrl-C too, which does not reach the process
        end(process)
        raise


def call(arguments: Sequence[str], seconds: float = LONGEST_SECONDS) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, as `finish` does."""
    process = start(arguments)
    out, err = finish(process, seconds)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def final_state(run: Path) -> dict[str, Any]:
    """The newest intact checkpoint."""
    state, _ = checkpoint.newest(run / "checkpoints")
    if state is None:
        raise FileNotFoundError(f"{run} has no checkpoint")
    return state


def differences(run: Path, reference: Path) -> list[str]:
    """The parts of a finished run that differ from those of the undisturbed one, in any bit.

    It compares the checkpoint (weights of all networks, their average, both optimizers, the phase, the step), the saved
    and the best model, every sample sheet, and the log and evaluations without times. Random numbers are not saved, but
    are functions of seed and step, and all of these depend on them.
    """
    found = list(_unequal(final_state(run), final_state(reference), "checkpoint"))
    for pattern in ("model/*", "best/*", "samples/*", "config.yaml"):
        expected = {path.relative_to(reference): path.read_bytes() for path in reference.glob(pattern)}
        got = {path.relative_to(run): path.read_bytes() for path in run.glob(pattern)}
        found += [str(name) for name in sorted(expected.keys() | got.keys()) if expected.get(name) != got.get(name)]
    for name in ("log.jsonl", "metrics.jsonl"):
        if lines(run / name) != lines(reference / name):
            found.append(name)
    found += [f"left over: {path.relative_to(run)}" for path in run.rglob("*") if ASIDE.search(path.name)]
    return found


def lines(path: Path) -> list[dict[str, float]]:
    """The lines of a log without times; none if there is no log."""
    if not path.exists():
        return []
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in entry.items() if name not in CLOCK} for entry in entries]


def _unequal(got: Any, expected: Any, where: str) -> Iterator[str]:
    if type(got) is not type(expected):
        yield where
    elif isinstance(got, torch.Tensor):
        if got.dtype != expected.dtype or not torch.equal(got, expected):
            yield where
    elif isinstance(got, dict):
        if got.keys() != expected.keys():
            yield where
        else:
            for name in got:
                yield from _unequal(got[name], expected[name], f"{where}.{name}")
    elif isinstance(got, (list, tuple)):
        if len(got) != len(expected):
            yield where
        else:
            for number, (one, other) in enumerate(zip(got, expected, strict=True)):
                yield from _unequal(one, other, f"{where}.{number}")
    elif got != expected:
        yield where
