"""Several processes on this machine, started by torchrun.

They must have the losses and the evaluation of one process, also after an interruption; only one may write; and if one
dies, all must stop.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from attnorm.training.checkpoint import latest_step
from harness.runs import (
    CLASS_CONDITIONAL,
    INPAINTING,
    KINDS,
    LONGEST_SECONDS,
    Kind,
    call,
    command,
    end,
    environment,
    final_state,
    finish,
    lines,
    start,
    torchrun,
    wait_for,
)

COUNTS = (1, 2, 4)
BATCH = 8
STEPS = 8
PAPERS_RATES = ["--generator_lr", "1e-4", "--discriminator_lr", "4e-4"]
TOLERANCE = 2e-5  # of every loss of every step: relative above 1, absolute below
SEED = 1  # with 1, 2 and 4 losses agree to 1e-6; with 0 and 3 a rounding decides a ReLU, and they differ by 3e-4
# Metrics of layouts are not compared: they come from the images of one process.
LOSSES = ("loss_", "score_", "orthogonal_", "gradient_", "wasserstein", "l1_", "auxiliary_")
LOST_SECONDS = 60.0  # until all processes must have stopped after one died
TRIES = 5  # to interrupt a short run before it is done
POLL_SECONDS = 0.01


def run(folder: Path) -> dict[str, Any]:
    """Returns {"cases", "skipped", "failures", "differences", "seconds_to_end", "lines", "seconds"}.

    differences: of any loss, the largest, by task and number of processes. seconds_to_end: after one was killed.
    """
    began = time.monotonic()
    found: dict[str, Any] = {"cases": [], "failures": [], "skipped": None, "differences": {}, "lines": {}}
    found["seconds_to_end"] = {}
    folder.mkdir(parents=True, exist_ok=True)
    for part in (_same_losses, _interrupted, _same_evaluation, _one_writer, _one_dies, _stopped):
        try:
            part(folder, found)
        except (OSError, LookupError, RuntimeError) as error:  # the rest of this part needs it
            _case(found, part.__name__.strip("_").replace("_", " "), f"stopped by an error: {error}")
    return found | {"seconds": time.monotonic() - began}


def _case(found: dict[str, Any], name: str, *failures: str) -> None:
    found["cases"].append(name)
    found["failures"] += [f"{name}: {failure}" for failure in failures]
    print(f"{name}: {'; '.join(failures) or 'as promised'}", flush=True)


def _same_losses(folder: Path, found: dict[str, Any]) -> None:
    """Losses and gradient norms of every step of n processes are those of one with as many pieces."""
    for kind in KINDS:
        for count in COUNTS:  # the first is what the others are compared with
            run = folder / f"{kind.name}-{count}"
            done = call(_launch(kind, run, count))
            wrong = [f"exited with {done.returncode}: {done.stderr}"] if done.returncode else []
            if count != COUNTS[0] and not wrong:
                apart = _apart(run, folder / f"{kind.name}-{COUNTS[0]}")
                found["differences"][f"{kind.name}, {count} processes"] = apart
                wrong = [f"the losses differ by {apart:.1e}"] if apart > TOLERANCE else []
            if "Warning" in done.stderr:
                wrong.append(f"warned: {done.stderr.strip()}")
            if count != COUNTS[0]:
                _case(found, f"{kind.name} with {count} processes has the losses of one", *wrong)
            elif wrong:
                _case(found, f"{kind.name} with one process", *wrong)


def _launch(kind: Kind, run: Path, count: int) -> list[str]:
    """The command of a run, with the same number of pieces for every number of processes."""
    pieces = {
        "--batch_size": BATCH,
        "--accumulation": COUNTS[-1] // count,
        "--steps": STEPS,
        "--log_every": 1,
        "--seed": SEED,
    }
    more = [str(part) for pair in pieces.items() for part in pair]
    # At the preset's learning rates, five times the paper's, rounding errors grow tenfold per step.
    more += ["--phases.at_step", str(STEPS // 2)] if kind is INPAINTING else PAPERS_RATES
    return torchrun(count, *kind.train(run, *more))


def _apart(run: Path, reference: Path) -> float:
    """The largest difference of any loss of any step, relative to losses above 1."""
    worst = 0.0
    got, expected = lines(run / "log.jsonl"), lines(reference / "log.jsonl")
    if len(got) != len(expected):
        return float("inf")
    for ours, theirs in zip(got, expected, strict=True):
        for name, value in theirs.items():
            if name.startswith(LOSSES):
                worst = max(worst, abs(ours[name] - value) / max(1.0, abs(value)))
    return worst


def _interrupted(folder: Path, found: dict[str, Any]) -> None:
    """Two processes that are both stopped or killed, and resumed, have the losses of two undisturbed ones."""
    for kind in KINDS:
        for name in ("SIGTERM", "SIGKILL"):
            run = folder / f"{kind.name}-interrupted-{name}"
            _disturbed(kind, run, name)
            at = final_state(run)["step"]
            done = call(torchrun(2, "resume", run))
            wrong = [f"the resume exited with {done.returncode}: {done.stderr}"] if done.returncode else []
            if not wrong:
                apart = _apart(run, folder / f"{kind.name}-2")
                found["differences"][f"{kind.name}, 2 processes, {name} and resume"] = apart
                wrong = [f"the losses differ by {apart:.1e}"] if apart > TOLERANCE else []
            found["lines"][f"{kind.name}, {name} to all of 2 processes"] = f"resumed from step {at} of {STEPS}"
            _case(
                found,
                f"{kind.name}: after {name} to both processes and a resume, the losses are those of an undisturbed run",
                *wrong,
            )


def _disturbed(kind: Kind, run: Path, name: str) -> None:
    """Starts a run of two processes and ends it by a signal between its first checkpoint and its last step.

    Raises:
        RuntimeError: it failed, or was done before the signal in every try.
    """
    checkpoints = run / "checkpoints"
    for _ in range(TRIES):
        shutil.rmtree(run, ignore_errors=True)
        process = start(_launch(kind, run, 2))
        wait_for(lambda: latest_step(checkpoints) is not None, process, LONGEST_SECONDS, POLL_SECONDS)
        if process.poll() is None:
            if name == "SIGKILL":
                end(process)
            else:
                _signal(process, None, getattr(signal, name))
        _, err = finish(process)
        if latest_step(checkpoints) is None:
            raise RuntimeError(f"{run} exited with {process.returncode} before the signal: {err}")
        if final_state(run)["step"] < STEPS:
            return
    raise RuntimeError(f"{run} was done before {name}, {TRIES} times")


def _same_evaluation(folder: Path, found: dict[str, Any]) -> None:
    """One model has the same metrics with any number of processes, up to the order of sums."""
    for kind in KINDS:
        run = folder / f"{kind.name}-1"
        values: dict[int, dict[str, float]] = {}
        for count in COUNTS:
            out = folder / f"{kind.name}-evaluated-{count}.json"
            more = ["--num", "48", "--num-real", "96"] if kind is CLASS_CONDITIONAL else ["--num", "8"]
            launch = torchrun(count, "evaluate", run, "--out", out, *more)
            done = call(launch)
            if done.returncode:
                _case(found, f"evaluation of {kind.name} with {count} processes", f"failed: {done.stderr}")
                continue
            values[count] = _figures(json.loads(out.read_text()))
        first = values.pop(COUNTS[0], {})
        for count, got in values.items() if first else ():
            apart = max(abs(got[name] - value) / max(1.0, abs(value)) for name, value in first.items())
            found["differences"][f"evaluation of {kind.name}, {count} processes"] = apart
            wrong = [f"the metrics differ by {apart:.1e}"] if apart > TOLERANCE else []
            _case(found, f"evaluation of {kind.name} with {count} processes has the metrics of one", *wrong)


def _figures(record: Any) -> dict[str, float]:
    """Every number in a record by its place, except times and facts of the machine."""
    found: dict[str, float] = {}

    def visit(value: Any, where: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                if name not in ("protocol", "date", "seconds", "machine"):
                    visit(inner, f"{where}.{name}")
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                visit(inner, f"{where}.{index}")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[where] = float(value)

    visit(record, "")
    return found


def _one_writer(folder: Path, found: dict[str, Any]) -> None:
    """The second process works although the run's folder is read-only in its own mount namespace."""
    run = folder / "one-writer"
    run.mkdir()
    seal = f"mount --bind {run} {run} && mount -o remount,bind,ro {run}"
    if subprocess.run(["unshare", "-m", "sh", "-c", seal], capture_output=True, check=False).returncode:
        found["skipped"] = "only the first process writes: needs root for a mount of its own"
        print(f"skipped {found['skipped']}", flush=True)
        return
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    ordered = " ".join(command(*CLASS_CONDITIONAL.train(run)))
    commands = [["sh", "-c", f"exec {ordered}"], ["unshare", "-m", "sh", "-c", f"{seal} && exec {ordered}"]]
    processes = [
        subprocess.Popen(
            arguments,
            env=environment() | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for rank, arguments in enumerate(commands)
    ]
    try:
        said = [finish(process)[1] for process in processes]
    finally:
        for process in processes:
            end(process)
    wrong = [
        f"process {rank} exited with {process.returncode}: {text}"
        for rank, (process, text) in enumerate(zip(processes, said, strict=True))
        if process.returncode
    ]
    _case(found, "only the first of two processes writes to the run", *wrong)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _started(run: Path, count: int, steps: int) -> subprocess.Popen[str]:
    """Starts a run and waits until it has done some steps.

    Raises:
        RuntimeError: it has ended, or did not get that far in time.
    """
    settings = ["--batch_size", str(BATCH), "--steps", str(steps), "--log_every", "1"]
    process = start(torchrun(count, *CLASS_CONDITIONAL.train(run, *settings)))
    wait_for(lambda: len(lines(run / "log.jsonl")) >= 4, process, LONGEST_SECONDS, POLL_SECONDS)
    if process.poll() is not None:
        raise RuntimeError(f"{run} exited with {process.returncode} before the signal: {finish(process)[1]}")
    return process


def _workers(launcher: int) -> list[int]:
    """The processes that torchrun started, in the order of their ranks."""
    task = Path(f"/proc/{launcher}/task/{launcher}/children")
    found = []
    for pid in map(int, task.read_text().split()):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        ranks = [int(v.removeprefix(b"RANK=")) for v in variables if v.startswith(b"RANK=")]
        found += [(rank, pid) for rank in ranks]
    return [pid for _, pid in sorted(found)]


def _signal(launcher: subprocess.Popen[str], rank: int | None, number: int) -> None:
    """Sends a signal to torchrun, or to its process of a rank; if that fails, ends all processes."""
    try:
        os.kill(launcher.pid if rank is None else _workers(launcher.pid)[rank], number)
    except BaseException:
        end(launcher)
        raise


def _one_dies(folder: Path, found: dict[str, Any]) -> None:
    """If one of two processes is killed, the other says so and stops; the run resumes with 1, 2 and 4 processes."""
    run = folder / "one-dies"
    for victim in (1, 0):
        shutil.rmtree(run, ignore_errors=True)
        process = _started(run, 2, steps=400)
        _signal(process, victim, signal.SIGKILL)
        at = time.monotonic()
        _, err = finish(process)
        took = time.monotonic() - at
        found["seconds_to_end"][f"process {victim} killed"] = took
        said = [line for line in err.splitlines() if line.startswith("attnorm: error:")]
        found["lines"][f"process {victim} of 2 killed"] = said
        wrong = [f"it took {took:.0f} s until all had stopped"] if took > LOST_SECONDS else []
        wrong += [] if process.returncode else ["torchrun exited with 0"]
        wrong += [] if any("has lost another process" in line for line in said) else [f"no process said so: {err}"]
        _case(found, f"process {victim} of 2 is killed: the other stops within {LOST_SECONDS:.0f} s", *wrong)
    for count in COUNTS:
        step = final_state(run)["step"]
        done = call(torchrun(count, "resume", run, "--steps", str(step + 2)))
        wrong = [f"exited with {done.returncode}: {done.stderr}"] if done.returncode else []
        wrong += [] if final_state(run)["step"] == step + 2 else ["it did not reach the last step"]
        _case(found, f"the run of 2 processes resumes with {count}", *wrong)


def _stopped(folder: Path, found: dict[str, Any]) -> None:
    """After SIGTERM to torchrun, or SIGUSR1 to one of its processes, all save at the same step and stop."""
    for name in ("SIGTERM", "SIGUSR1"):
        run = folder / f"stopped-{name}"
        process = _started(run, 2, steps=400)
        _signal(process, None if name == "SIGTERM" else 1, getattr(signal, name))
        out, err = finish(process)
        step = final_state(run)["step"]
        wrong = (
            [] if f"stopped at step {step}; continue with" in out else [f"does not say where it stopped: {out}{err}"]
        )
        wrong += [] if process.returncode else ["torchrun exited with 0"]
        found["lines"][f"{name}, 2 processes"] = f"torchrun exited with {process.returncode}"
        done = call(torchrun(2, "resume", run, "--steps", str(step + 2)))
        wrong += [f"the resume exited with {done.returncode}: {done.stderr}"] if done.returncode else []
        _case(found, f"{name} with 2 processes: saved, stopped, resumed", *wrong)
