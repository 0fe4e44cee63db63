"""Kills runs at random moments, some inside the write of a file, and resumes them until they are done.

The program knows nothing of this: a kill comes at a random time, or when a file appears under the name that it has
while it is written. Sometimes the newest checkpoint is damaged before the resume. The resume must then name it and
continue from the one before, with the same result.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attnorm.errors import UserError
from harness.runs import KINDS, Kind, call, command, differences, environment

# By aim of a kill: its relative frequency, and the name of the file to wait for.
AIMS: dict[str, tuple[int, str | None]] = {
    "any moment since the start": (2, None),
    "any moment of the training": (5, None),
    "a checkpoint's write": (7, "checkpoints/.step-*.partial"),
    "a model's write": (3, ".model.partial"),
    "the best model's write": (1, ".best.partial"),
    "a sample sheet's write": (2, "samples/*.partial-*"),
}
MOST_KILLS = 6  # of one run
DAMAGED = 0.15  # share of resumes before which the newest checkpoint is damaged
POLL_SECONDS = 1e-3
PATIENCE_SECONDS = 300.0  # until the moment of a kill must have come


@dataclass
class Kill:
    """One kill: its aim, what was being written (hit), and the newest checkpoint at the start and at the kill."""

    task: str
    run: int
    aim: str
    hit: str | None
    step_before: int | None
    step: int | None
    damaged: str | None = None


def run(folder: Path, kills: int, seed: int, jobs: int = 1) -> dict[str, Any]:
    """Kills at least `kills` times in all, both tasks in turn, `jobs` runs at a time.

    Returns:
        {"kills", "kills_inside_a_write", "resumes", "damaged", "runs", "by_aim", "by_hit", "by_task", "failures",
        "seconds", "seed", "every_kill"}. failures: a sentence for each run that ended wrongly.
    """
    if kills < 1 or jobs < 1:
        raise UserError(f"--kills and --jobs must be at least 1, got {kills} and {jobs}")
    began = time.monotonic()
    references, durations = {}, {}
    for kind in KINDS:
        references[kind.name] = folder / f"undisturbed-{kind.name}"
        at = time.monotonic()
        whole = call(command(*kind.train(references[kind.name])))
        durations[kind.name] = time.monotonic() - at
        if whole.returncode:
            raise RuntimeError(f"the undisturbed run failed: {whole.stderr}")

    def attempt(number: int) -> _Trial:
        kind = KINDS[number % len(KINDS)]
        trial = _Trial(
            kind, folder / f"run-{number:03d}", number, durations[kind.name], random.Random(f"{seed} {number}")
        )
        trial.disturb(min(MOST_KILLS, kills), references[kind.name])
        return trial

    trials: list[_Trial] = []
    with ThreadPoolExecutor(jobs) as pool:
        while (number := sum(len(trial.kills) for trial in trials)) < kills:
            # No more at once than are needed if each has one kill.
            for trial in pool.map(attempt, range(len(trials), len(trials) + min(jobs, kills - number))):
                trials.append(trial)
                done = [kill for trial in trials for kill in trial.kills]
                failures = [trial.failure for trial in trials if trial.failure is not None]
                verdict = f"{len(failures)} FAILED, {failures[-1]}" if failures else "all as if undisturbed"
                inside = sum(kill.hit is not None for kill in done)
                print(f"{len(done)}/{kills} kills, {inside} inside a write, {len(trials)} runs: {verdict}", flush=True)
    return {
        "kills": len(done),
        "kills_inside_a_write": inside,
        "resumes": sum(trial.resumes for trial in trials),
        "damaged": sum(kill.damaged is not None for kill in done),
        "runs": len(trials),
        "by_aim": dict(Counter(kill.aim for kill in done)),
        "by_hit": dict(Counter(kill.hit or "between writes" for kill in done)),
        "by_task": dict(Counter(kill.task for kill in done)),
        "failures": failures,
        "seconds": time.monotonic() - began,
        "seed": seed,
        "every_kill": [asdict(kill) for kill in done],
    }


class _Trial:
    """One run: started, killed and resumed until it is done."""

    def __init__(self, kind: Kind, path: Path, number: int, duration: float, chance: random.Random) -> None:
        self.kind, self.path, self._number, self._duration, self._chance = kind, path, number, duration, chance
        self.kills: list[Kill] = []
        self.resumes = 0
        self.failure: str | None = None

    def disturb(self, most: int, reference: Path) -> None:
        """Kills and resumes the run 1 to `most` times or until it is done, and compares it with the undisturbed one."""
        wrong = self._kill_and_end(self._chance.randint(1, most)) or "; ".join(differences(self.path, reference))
        if wrong:
            self.failure = f"{self.path} ({self.kind.name}): {wrong}"  # the folder is kept
        else:
            shutil.rmtree(self.path)

    def _kill_and_end(self, number: int) -> str | None:
        """What went wrong, or None."""
        damaged = None
        for _ in range(number):
            aim = self._aim()
            before = self._newest()
            hit, ended = self._start_and_kill(aim, damaged)
            if ended is not None:
                return ended or None  # done before the kill
            kill = Kill(self.kind.name, self._number, aim, hit, before, self._newest())
            self.kills.append(kill)
            damaged = kill.damaged = self._damage()
        last = call(self._next())
        if last.returncode:
            return f"exited with {last.returncode}: {last.stderr.strip()}"
        return self._unnamed(damaged, last.stdout)

    def _aim(self) -> str:
        names = [name for name in AIMS if name != "the best model's write" or self.kind.name == "inpainting"]
        return self._chance.choices(names, [AIMS[name][0] for name in names])[0]

    def _next(self) -> list[str]:
        """The command that a user would run now."""
        if (self.path / "config.yaml").exists():
            self.resumes += 1
            return command("resume", self.path)
        return command(*self.kind.train(self.path))

    def _start_and_kill(self, aim: str, damaged: str | None) -> tuple[str | None, str | None]:
        """What was being written at the kill; and, if the process ended before it, what was wrong or ""."""
        old = self._aside()
        log = self.path / "log.jsonl"
        length = log.stat().st_size if log.exists() else 0
        output = self.path.with_suffix(".txt")
        with output.open("w") as file:
            process = subprocess.Popen(self._next(), env=environment(), stdout=file, stderr=subprocess.STDOUT)
        try:
            hung = not self._wait(aim, process, old, log, length)
        finally:
            process.kill()
        code = process.wait()
        text = output.read_text()
        output.unlink()
        if hung:
            return None, f"neither ended nor reached {aim} within {PATIENCE_SECONDS:.0f} s: {text.strip()}"
        if code == -signal.SIGKILL:
            new = [name for name, identity in self._aside().items() if old.get(name) != identity]
            return (_what(new[0]) if new else None), None
        if code:
            return None, f"exited with {code}: {text.strip()}"
        return None, self._unnamed(damaged, text) or ""

    def _wait(self, aim: str, process: subprocess.Popen[bytes], old: dict[str, Any], log: Path, length: int) -> bool:
        """Waits for the moment of the kill or the end of the process; False if neither comes in time."""
        chance, pattern, deadline = self._chance, AIMS[aim][1], time.monotonic() + PATIENCE_SECONDS
        if aim == "any moment since the start":
            _sleep(process, chance.uniform(0, self._duration))
        elif pattern is None:
            while process.poll() is None and not (log.exists() and log.stat().st_size > length):
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.005)
            _sleep(process, chance.uniform(0, 0.5 * self._duration))
        else:
            appearances, there, wanted = 0, False, chance.randint(1, 3)
            while process.poll() is None and appearances < wanted:
                if time.monotonic() > deadline:
                    return False
                now = any(old.get(name) != identity for name, identity in self._aside(pattern).items())
                appearances += now and not there
                there = now
                time.sleep(POLL_SECONDS)
            time.sleep(chance.uniform(0, 0.004))
        return True

    def _aside(self, *patterns: str) -> dict[str, Any]:
        """The files being written, by name, with an identity that tells them from those of an earlier kill."""
        found = {}
        for pattern in patterns or [pattern for _, pattern in AIMS.values() if pattern]:
            for path in self.path.glob(pattern):
                try:
                    status = path.stat()
                except FileNotFoundError:  # renamed meanwhile
                    continue
                found[str(path.relative_to(self.path))] = (status.st_ino, status.st_mtime_ns)
        return found

    def _checkpoints(self) -> list[Path]:
        found = (self.path / "checkpoints").glob("step-*")
        return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))

    def _newest(self) -> int | None:
        found = self._checkpoints()
        return int(found[-1].name.removeprefix("step-")) if found else None

    def _damage(self) -> str | None:
        """Sometimes damages the newest checkpoint, if there is one before it; returns its name."""
        found = self._checkpoints()
        if self._chance.random() >= DAMAGED or len(found) < 2:
            return None
        state = found[-1] / "state.pt"
        content = bytearray(state.read_bytes())
        if self._chance.random() < 0.5:
            content = content[: self._chance.randrange(len(content))]
        else:
            content[self._chance.randrange(len(content))] ^= 1 << self._chance.randrange(8)
        state.write_bytes(content)
        return found[-1].name

    def _unnamed(self, damaged: str | None, output: str) -> str | None:
        """A message if the damaged checkpoint is not named in the output."""
        if damaged is None or f"{damaged} is damaged" in output:
            return None
        return f"{damaged} was damaged, and the resume did not name it"


def _what(aside: str) -> str:
    """The kind of file that is written under this name."""
    return next(name for name, start in _WRITTEN.items() if aside.startswith(start))


_WRITTEN = {"checkpoint": "checkpoints/", "model": ".model", "best model": ".best", "sample sheet": "samples/"}


def _sleep(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
