"""Full disks and read-only folders, on small tmpfs mounts, which need root; and data that is lost while it is read.

Every command must exit with code 2 and one line on stderr, change no existing file and leave no partial one. Once there
is room again, a run must resume and end with the bits of an undisturbed one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.runs import (
    CLASS_CONDITIONAL,
    INPAINTING,
    LONGEST_SECONDS,
    Kind,
    call,
    command,
    differences,
    finish,
    start,
    wait_for,
)

SIZE = 24 << 20  # of the mounts, bytes
# Free bytes when a run starts. Each lets another file fill the disk: the configuration, the log, the sample sheets, the
# model, or the first, second or third checkpoint.
ROOMS = {CLASS_CONDITIONAL: (0, 4096, 100_000, 500_000, 1_000_000), INPAINTING: (8192, 300_000, 1_800_000, 3_200_000)}


class _Report:
    """The cases, the failures, and what each command printed."""

    def __init__(self) -> None:
        self.cases: list[str] = []
        self.failures: list[str] = []
        self.lines: dict[str, str] = {}

    def case(self, name: str, *failures: str) -> None:
        self.cases.append(name)
        self.failures += [f"{name}: {failure}" for failure in failures]
        print(f"{name}: {'; '.join(failures) or 'as promised'}", flush=True)

    def refused(self, name: str, done: subprocess.CompletedProcess[str]) -> list[str]:
        """What is wrong with how a command failed; its line is kept."""
        text = done.stderr.strip()
        self.lines[name] = text
        wrong = [] if done.returncode == 2 else [f"exited with {done.returncode}: {text or done.stdout.strip()}"]
        return wrong if text.startswith("attnorm: error: ") and "\n" not in text else [*wrong, f"printed {text!r}"]


def run(folder: Path) -> dict[str, Any]:
    """Returns {"cases", "skipped", "failures", "lines", "seconds"}; lines: what each command printed."""
    began, report, skipped = time.monotonic(), _Report(), None
    folder.mkdir(parents=True, exist_ok=True)
    references = {kind: _undisturbed(kind, folder / f"undisturbed-{kind.name}") for kind in ROOMS}
    try:
        with _mounted(folder / "disk") as disk:
            for kind, rooms in ROOMS.items():
                for room in rooms:
                    for board in ("none", "tensorboard") if room == rooms[-1] else ("none",):
                        _full_while_training(report, kind, disk, room, board, references[kind])
            _full_outputs(report, disk, references, folder)
            _read_only(report, disk, references, folder)
    except _CannotMountError as error:
        skipped = f"full and read-only disks: {error}"
        print(f"skipped {skipped}", flush=True)
    try:
        _lost_data(report, folder)
    except (OSError, RuntimeError) as error:
        report.case("lost data", f"stopped by an error: {error}")
    return {
        "cases": report.cases,
        "skipped": skipped,
        "failures": report.failures,
        "lines": report.lines,
        "seconds": time.monotonic() - began,
    }


def _undisturbed(kind: Kind, run: Path, *more: str) -> Path:
    done = call(command(*kind.train(run, *more)))
    if done.returncode:
        raise RuntimeError(f"the undisturbed run failed: {done.stderr}")
    return run


class _CannotMountError(Exception):
    """This user may not mount."""


@contextmanager
def _mounted(disk: Path) -> Iterator[Path]:
    disk.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=False)


def _mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise _CannotMountError(done.stderr.strip())


@contextmanager
def _ballast(disk: Path, room: int) -> Iterator[None]:
    """Leaves `room` free bytes on the disk."""
    path = disk / "ballast"
    status = os.statvfs(disk)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(status.f_bavail * status.f_frsize - room, 1))
    try:
        yield
    finally:
        path.unlink()


def _full_while_training(report: _Report, kind: Kind, disk: Path, room: int, board: str, reference: Path) -> None:
    name = f"full disk, {kind.name}, {room} bytes free" + (", TensorBoard" if board == "tensorboard" else "")
    run = disk / "run"
    arguments = kind.train(run, "--log_to", board)
    with _ballast(disk, room):
        wrong = report.refused(name, call(command(*arguments)))
    again = call(command("resume", run) if (run / "config.yaml").exists() else command(*arguments))
    wrong += [f"the resume exited with {again.returncode}: {again.stderr}"] if again.returncode else []
    # The configuration has `log_to`; nothing else may differ.
    wrong += [found for found in differences(run, reference) if board == "none" or found != "config.yaml"]
    report.case(name, *wrong)
    shutil.rmtree(run)


def _outputs(references: dict[Kind, Path], folder: Path, disk: Path) -> dict[str, list[str]]:
    """Commands other than training that write to the disk."""
    images = folder / "images"
    if not images.exists():
        done = call(command("generate", references[CLASS_CONDITIONAL], "--count", "2", "-o", images))
        if done.returncode:
            raise RuntimeError(done.stderr)
        from PIL import Image

        Image.new("L", (32, 32)).save(folder / "mask.png")
        with Image.open(folder / "mask.png") as mask:
            mask.paste(255, (8, 8, 24, 24))
            mask.save(folder / "mask.png")
    first = sorted(images.iterdir())[0]
    return {
        "generate a grid": command("generate", references[CLASS_CONDITIONAL], "-o", disk / "out" / "grid.png"),
        "generate files": command("generate", references[CLASS_CONDITIONAL], "-o", disk / "out" / "files"),
        "inpaint": command("inpaint", references[INPAINTING], first, folder / "mask.png", "-o", disk / "out" / "a.png"),
        "inpaint a folder": command(
            "inpaint", references[INPAINTING], images, folder / "mask.png", "-o", disk / "out" / "filled"
        ),
        "data prepare": command("data", "prepare", images, disk / "out" / "prepared", "--size", "64"),
    }


def _full_outputs(report: _Report, disk: Path, references: dict[Kind, Path], folder: Path) -> None:
    (disk / "out").mkdir()
    for name, arguments in _outputs(references, folder, disk).items():
        with _ballast(disk, 4096 if "prepare" in name else 0):
            wrong = report.refused(f"full disk, {name}", call(arguments))
        report.case(f"full disk, {name}", *wrong, *_half_written(disk / "out"))


def _read_only(report: _Report, disk: Path, references: dict[Kind, Path], folder: Path) -> None:
    shutil.copytree(references[CLASS_CONDITIONAL], disk / "run")
    shutil.rmtree(disk / "out")
    (disk / "out").mkdir()
    commands = _outputs(references, folder, disk) | {
        "train": command(*CLASS_CONDITIONAL.train(disk / "new")),
        "resume": command("resume", disk / "run", "--steps", "14"),
    }
    _mount("-o", "remount,ro", disk)
    try:
        for name, arguments in commands.items():
            wrong = report.refused(f"read-only folder, {name}", call(arguments))
            report.case(f"read-only folder, {name}", *wrong, *_half_written(disk / "out"))
    finally:
        _mount("-o", "remount,rw", disk)
    report.case("read-only folder, the run is unchanged", *differences(disk / "run", references[CLASS_CONDITIONAL]))


def _half_written(folder: Path) -> list[str]:
    """Partial or empty files. Complete images may stay: they were written before the disk was full."""
    found = [
        path for path in folder.rglob("*") if path.is_file() and (".partial" in str(path) or not path.stat().st_size)
    ]
    return [f"left {path.relative_to(folder)} half-written" for path in found]


def _lost_data(report: _Report, folder: Path) -> None:
    """A prepared file is cut short or removed while it is read."""
    data = folder / "data"
    done = call(command("data", "prepare", "digits", data, "--size", "32"))
    if done.returncode:
        raise RuntimeError(done.stderr)
    reference = _undisturbed(CLASS_CONDITIONAL, folder / "undisturbed-prepared", "--data", str(data))
    images = data / "images.u8"
    whole = images.read_bytes()
    for name in ("cut short", "removed"):
        run = folder / f"run-{name.replace(' ', '-')}"
        arguments = command(*CLASS_CONDITIONAL.train(run, "--data", str(data)))
        process = start(arguments)
        wait_for((run / "log.jsonl").exists, process, LONGEST_SECONDS, pause=0.002)
        if name == "removed":
            images.unlink()
        else:
            os.truncate(images, len(whole) // 2)
        out, err = finish(process)
        ended = subprocess.CompletedProcess(arguments, process.returncode, out, err)
        wrong = []
        if name == "removed":  # it stays mapped: the run ends well, and only a resume misses the file
            wrong += [f"exited with {ended.returncode}: {err}"] if ended.returncode else []
            wrong += report.refused(f"data {name}, resume", call(command("resume", run, "--steps", "14")))
        else:
            wrong += report.refused(f"data {name}", ended)
        images.write_bytes(whole)
        again = call(command("resume", run))
        wrong += [f"the resume exited with {again.returncode}: {again.stderr}"] if again.returncode else []
        report.case(f"data file {name} while training", *wrong, *differences(run, reference))
