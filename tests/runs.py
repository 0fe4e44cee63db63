"""What tests of whole runs share: commands, batches, logs, and the comparison of two states bit for bit."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from attnorm.cli import main
from attnorm.errors import UserError
from attnorm.metrics.distributed import Processes
from attnorm.metrics.records import Protocol, Record, write_records
from attnorm.training import checkpoint
from attnorm.training.run_folder import run_lock

DIGITS = ("train", "an-gan-digits", "--data", "digits", "--out")
INPAINT = ("train", "inpaint-an-64-cpu", "--data", "digits", "--out")
ALONE = Processes(torch.device("cpu"))
FORKS = multiprocessing.get_context("forkserver")  # a process starts at once: its server has imported PyTorch
FORKS.set_forkserver_preload(["tests.runs", "attnorm.training.loop"])


def batch_of(seed=0, count=4, size=32):
    """Images (count, size, size, 3) uint8 and labels (count,)."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, size, size, 3), dtype=np.uint8), random.integers(0, 10, count)


def weights(network):
    return {name: p.detach().clone() for name, p in network.named_parameters()}


def moved(before, network):
    """The names of the parameters that differ from `weights` of before."""
    return {name for name, p in network.named_parameters() if not torch.equal(before[name], p)}


def final_state(run):
    return checkpoint.newest(run / "checkpoints")[0]


def differences(first, second, where="state"):
    """The places where two nested states are not bitwise the same."""
    if isinstance(first, torch.Tensor):
        return [] if torch.equal(first, second) else [where]
    if isinstance(first, dict) and first.keys() == second.keys():
        return [place for name in first for place in differences(first[name], second[name], f"{where}.{name}")]
    if isinstance(first, (list, tuple)) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return [place for index, pair in pairs for place in differences(*pair, f"{where}.{index}")]
    return [] if first == second else [where]


def log_of(run, name="log.jsonl"):
    """The lines of a log without what depends on the clock."""
    lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "time" and not k.endswith("_per_second")} for line in lines]


def assert_same_run(first, second, *more):
    """Same weights, averages, optimisers, models, last samples and metrics."""
    assert differences(final_state(first), final_state(second)) == []
    for path in ("model/model.safetensors", "model/config.json", "samples/step-0000006.png", *more):
        assert (first / path).read_bytes() == (second / path).read_bytes(), path
    assert log_of(first) == log_of(second)


def interrupt(monkeypatch, task, step, *numbers):
    """Makes a run send itself signals in the middle of a step."""
    original = task._update_generator

    def patched(self, *arguments):
        if self._at == step:
            for number in numbers or (signal.SIGINT,):
                signal.raise_signal(number)
        return original(self, *arguments)

    begin = task._begin_step
    monkeypatch.setattr(task, "_begin_step", lambda self, now: (setattr(self, "_at", now), begin(self, now))[1])
    monkeypatch.setattr(task, "_update_generator", patched)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(capsys, *arguments):
    """The one line of a command that refuses with exit code 2."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("attnorm: error: ")
    assert err.count("\n") == 1
    return err


def write_record(path, values, *, step=6, weights="ema", data="digits", split="digits", details=None):
    """The record of an evaluation: by metric its value or several by name, of a step of a run."""
    about = {"step": step, "weights": weights, "data": data, "split": split}
    protocol = Protocol(model="run", num=40, seed=7, settings={"num_real": 40}, **about)
    common = {"better": "lower", "details": details or {}, "protocol": protocol}
    named = {metric: value if isinstance(value, dict) else {"mean": value} for metric, value in values.items()}
    write_records([Record(metric=metric, values=value, **common) for metric, value in named.items()], path)


def refusal(call, *arguments, **named):
    """The one sentence of a call that refuses."""
    with pytest.raises(UserError) as caught:
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def python(*arguments, environments=({},)):
    """Runs Python at the same time with each of the environments, to the end of all; one thread a process."""
    base, pipe = os.environ | {"OMP_NUM_THREADS": "1"}, subprocess.PIPE
    command = [sys.executable, *arguments]
    started = [subprocess.Popen(command, env=base | each, text=True, stdout=pipe, stderr=pipe) for each in environments]
    try:
        outputs = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    return [subprocess.CompletedProcess(command, p.returncode, *out) for p, out in zip(started, outputs, strict=True)]


def two_ranks():
    """The environments of two processes, as torchrun would set them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    return [group | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]


def exit_codes(environments, function, *arguments):
    """Runs function(*arguments) at the same time in a process for each of the environments, to the end of all."""
    started = [FORKS.Process(target=_run, args=(each, function, arguments)) for each in environments]
    for process in started:
        process.start()
    for process in started:
        process.join(300)
        process.kill()
    return [process.exitcode for process in started]


def _run(environment, function, arguments):
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.exit(function(*arguments))


def run_killed(task, moment, *arguments):
    """A command in a process that kills itself in a step, or while it writes the second checkpoint or model."""
    assert exit_codes([{}], _killed, task, moment, arguments) == [-signal.SIGKILL]


def _killed(task, moment, arguments):
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def save_state(state, file):
        save(state, file)
        if state["step"] == 4:
            file.truncate(file.tell() // 2)
            die()

    def save_model(self, folder):
        saved.append(folder)
        write(self, folder)
        if len(saved) == 2:
            (folder / "model.safetensors").write_bytes(b"half")
            die()

    save, write, saved = torch.save, task.save_model, []
    if moment == "checkpoint":
        torch.save = save_state
    elif moment == "model":
        task.save_model = save_model
    else:
        interrupt(pytest.MonkeyPatch(), task, moment, signal.SIGKILL)
    return main(arguments)


def run_two(task, arguments, stopped_in=None):
    """A command in two processes that train together; the second is asked to stop in a step. Returns exit codes."""
    return exit_codes(two_ranks(), _one_of_two, task, arguments, stopped_in)


def _one_of_two(task, arguments, stopped_in):
    warnings.simplefilter("error", FutureWarning)  # of PyTorch, about arguments
    if stopped_in is not None and os.environ["RANK"] == "1":
        interrupt(pytest.MonkeyPatch(), task, stopped_in, signal.SIGTERM)
    return main(arguments)


def hold(run, pipe):
    """Holds the lock of a run until it is killed."""
    with run_lock(run):
        pipe.send("held")
        pipe.recv()
