"""Checks that memory does not grow with training steps, evaluated images, or files in a folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np

from harness.runs import CLASS_CONDITIONAL, INPAINTING, LONGEST_SECONDS, Kind, call, command, end, environment

WARM_UP = 1 / 3  # share of the steps before memory is measured, in which allocators fill their pools
MOST_GROWTH_MB = 1.0  # per 1000 steps, plus twice the standard error
MOST_DIFFERENCE_MB = 60.0  # between few and many images; peaks of the same call vary by up to 52
# Storing the many would take at least 90 MB: 1280 float32 features per generated image, or the pixels of each file. The
# few are enough to fill all batches and buffers, and more than there are features, so that both covariances have full
# rank and roots of the same size.
EVALUATED = (2048, 20480)
NUM_REAL = 128
FILES, FILE_SIDE = (32, 192), 512
_SMALL = "--generator.image_size 16 --generator.channels 4 4 4 --generator.long_range.block 1"
_SMALL += " --discriminator.image_size 16 --discriminator.channels 4 4 4"
SMALLEST = {  # ten thousand steps take minutes
    CLASS_CONDITIONAL: ["--batch_size", "2", *_SMALL.split()],
    INPAINTING: [
        "--batch_size",
        "2",
        "--generator.width",
        "2",
        "--critic.width",
        "2",
        "--critic_steps",
        "1",
        "--phases.at_step",
        "1",
    ],
}


def run(folder: Path, steps: int) -> dict[str, Any]:
    """Returns {"cases", "skipped", "failures", "growth", "peaks", "seconds"}.

    growth: MB of resident memory per 1000 steps and its standard error, by task. peaks: MB with few and with many
    images, by command.
    """
    began = time.monotonic()
    found: dict[str, Any] = {"cases": [], "failures": [], "skipped": None, "growth": {}, "peaks": {}}
    folder.mkdir(parents=True, exist_ok=True)
    for kind in (CLASS_CONDITIONAL, INPAINTING):
        try:
            slope, error, points = growth(kind, folder / f"long-{kind.name}", steps)
        except RuntimeError as failed:
            _case(found, f"{kind.name}: {failed}", True)
            continue
        found["growth"][kind.name] = {"mb_per_1000_steps": slope, "error": error, "samples": points, "steps": steps}
        wrong = slope + 2 * error > MOST_GROWTH_MB
        _case(found, f"{kind.name}: {slope:+.3f} ± {error:.3f} MB per 1000 steps over {steps} steps", wrong)
    try:
        peaks = _peaks(folder)
    except RuntimeError as failed:
        _case(found, f"memory by images: {failed}", True)
        peaks = {}
    for name, (counts, (few, many)) in peaks.items():
        found["peaks"][name] = {"counts": counts, "few": few, "many": many}
        said = f"{name}: {few:.0f} MB at most with {counts[0]} images, {many:.0f} MB with {counts[1]}"
        _case(found, said, many - few > MOST_DIFFERENCE_MB)
    return found | {"seconds": time.monotonic() - began}


def _case(found: dict[str, Any], said: str, wrong: bool) -> None:
    found["cases"].append(said)
    found["failures"] += [said] if wrong else []
    print(said + (" FAILED" if wrong else ""), flush=True)


def growth(kind: Kind, run: Path, steps: int) -> tuple[float, float, int]:
    """MB per 1000 steps of a training, its standard error, and the number of samples.

    Resident memory is read at each new line of the log, and a line is fitted by least squares.

    Raises:
        RuntimeError: the training failed, or was killed because its log had no new line for too long.
    """
    every = max(steps // 200, 1)
    often = {"--steps": steps, "--log_every": every, "--sample_every": steps // 10, "--checkpoint_every": steps // 10}
    settings = [str(part) for pair in often.items() for part in pair]
    if kind is INPAINTING:
        settings += ["--evaluate_every", str(steps // 10)]
    process = subprocess.Popen(
        command(*kind.train(run, *SMALLEST[kind], *settings)), env=environment(), stdout=subprocess.DEVNULL
    )
    log, at, memory = run / "log.jsonl", list[int](), list[float]()
    last, deadline = 0, time.monotonic() + LONGEST_SECONDS
    while process.poll() is None:
        done = log.read_bytes().count(b"\n") * every if log.exists() else 0
        if done > last:
            last, deadline = done, time.monotonic() + LONGEST_SECONDS
        elif time.monotonic() > deadline:
            end(process)
            raise RuntimeError(f"the long run hung at step {last} for {LONGEST_SECONDS:.0f} s and was killed")
        if done > WARM_UP * steps and (not at or done > at[-1]):
            resident = _resident(process.pid)
            if resident is not None:
                at.append(done)
                memory.append(resident)
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"the long run exited with {process.returncode}")
    (slope, _), covariance = np.polyfit(np.array(at) / 1000, memory, 1, cov=True)
    return float(slope), float(np.sqrt(covariance[0, 0])), len(at)


def _resident(pid: int) -> float | None:
    """Resident memory in MB; None if the process has just ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _peaks(folder: Path) -> dict[str, tuple[tuple[int, int], tuple[float, float]]]:
    """By command: two numbers of images, and the largest resident memory with each."""
    runs = {}
    for kind in (CLASS_CONDITIONAL, INPAINTING):
        runs[kind] = folder / f"model-{kind.name}"
        done = call(command(*kind.train(runs[kind], "--steps", "2")))
        if done.returncode:
            raise RuntimeError(done.stderr)
    for count in FILES:
        _draw(folder / f"images-{count}", count)

    def evaluation(count: int) -> float:
        out = folder / f"evaluated-{count}.json"
        numbers = ["--num", str(count), "--num-real", str(NUM_REAL)]
        return _peak(command("evaluate", runs[CLASS_CONDITIONAL], "--out", out, *numbers))

    def inpainting(count: int) -> float:
        given, out = folder / f"images-{count}", folder / f"completed-{count}"
        return _peak(command("inpaint", runs[INPAINTING], given, folder / "mask.png", "-o", out))

    return {
        "evaluate": (EVALUATED, (evaluation(EVALUATED[0]), evaluation(EVALUATED[1]))),
        "inpaint FOLDER": (FILES, (inpainting(FILES[0]), inpainting(FILES[1]))),
    }


def _draw(folder: Path, count: int) -> None:
    """Writes images of noise, which compress least, and a mask beside the folder."""
    from PIL import Image

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(random.integers(0, 256, (FILE_SIDE, FILE_SIDE, 3), dtype=np.uint8)).save(
            folder / f"{number:03d}.png"
        )
    mask = np.zeros((FILE_SIDE, FILE_SIDE), np.uint8)
    mask[: FILE_SIDE // 4, : FILE_SIDE // 4] = 255
    Image.fromarray(mask).save(folder.parent / "mask.png")


def _peak(arguments: list[str]) -> float:
    """The peak memory of a command in MB; RuntimeError if it fails."""
    process = subprocess.Popen(arguments, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    clock = Timer(LONGEST_SECONDS, os.kill, (process.pid, signal.SIGKILL))
    clock.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)  # this wait has no time limit of its own
    finally:
        clock.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} exited with {process.returncode}")
    return usage.ru_maxrss * 1024 / 1e6
