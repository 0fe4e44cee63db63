"""The training loop, the same for every task. Read it from top to bottom; a task says what one step is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from torch import Tensor

from attnorm.config import field_of, from_dict, read_yaml, to_yaml
from attnorm.data.batches import Prefetcher, batch_indices
from attnorm.data.dataset import ImageDataset
from attnorm.data.loading import load
from attnorm.errors import UserError
from attnorm.files import swap_in, written_aside
from attnorm.memory import check_memory
from attnorm.models.saved import write_step
from attnorm.training import checkpoint
from attnorm.training.class_conditional import ClassConditionalConfig, ClassConditionalTask
from attnorm.training.config import Evaluation, TrainingConfig
from attnorm.training.divergence import Divergence
from attnorm.training.figures import FigureSums
from attnorm.training.inpainting import InpaintingConfig, InpaintingTask
from attnorm.training.journal import Journal, resume_command
from attnorm.training.precision import resolve_device, resolve_precision
from attnorm.training.randomness import seed_for
from attnorm.training.run_folder import (
    BEST,
    CHECKPOINTS,
    CONFIG,
    HALF_A_START,
    LEFTOVERS,
    MODEL,
    PREPARED,
    SAMPLES,
    check_new,
    clear_leftovers,
)
from attnorm.training.run_lock import run_lock
from attnorm.training.stopping import stop_signals
from attnorm.training.together import check_agreed, check_same_pictures, check_same_run, meet, met, together


class Task(Protocol):
    """What the loop asks of a task.

    `batches_before(step)` says how many batches of pictures the first `step` steps take. It is asked, not counted, so
    that a resumed run reads on where the undisturbed one would; it may depend on the task's state, as long as it stays
    the same for steps that are done.
    """

    def batches_before(self, step: int) -> int: ...
    def step(self, step: int, batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Tensor]: ...
    def usage(self) -> dict[str, float]: ...
    def state(self) -> dict[str, Any]: ...
    def load_state(self, state: dict[str, Any]) -> None: ...
    def write_samples(self, path: Path) -> None: ...
    def save_model(self, folder: Path) -> None: ...
    def prepare_evaluation(self, dataset: ImageDataset) -> None: ...
    def evaluate(self, step: int) -> Evaluation: ...


# The configuration of every task by its name, and what makes the task of it.
TASKS: dict[str, tuple[type[TrainingConfig], Callable[[Any, Accelerator], Task]]] = {
    "class-conditional": (ClassConditionalConfig, ClassConditionalTask),
    "inpainting": (InpaintingConfig, InpaintingTask),
}


def begin(config: TrainingConfig, run: Path, fixed: Sequence[str] = ()) -> int:
    """Starts a run in a new or empty folder and trains it; returns the exit code.

    Args:
        fixed: dotted names of fields that were chosen, so that the data may not settle them otherwise.

    Raises:
        UserError: the folder holds a run or anything else already, the networks and a batch cannot fit into memory,
            the data cannot be read, the settings do not fit together, or the training diverged.
    """
    accelerator = _accelerator(config)
    config = replace(config, precision=resolve_precision(config.precision, accelerator.device))
    with together(accelerator, run):
        if accelerator.is_main_process:  # no other writes there
            check_new(run)
        _check_memory(config, accelerator)
        dataset = _load_data(config, config.data, run, accelerator)
        config = _fitted(config, dataset, fixed)
        _check_memory(config, accelerator)
        return _train(config, run, dataset, accelerator, resume=False)


def resume(run: Path, steps: int | None = None) -> int:
    """Goes on with a run from its newest whole checkpoint; returns the exit code.

    Args:
        steps: a new number of steps in all, to train longer than the run was meant to.

    Raises:
        UserError: the folder holds no run, or no whole checkpoint.
    """
    with met():
        config = _lengthened(read_config(run), steps, run)
    accelerator = _accelerator(config)
    with together(accelerator, run):
        _check_memory(config, accelerator)
        dataset = _load_data(config, config.data, run, accelerator)
        misfit = config.misfit(dataset)
        if misfit is not None:
            raise UserError(f"cannot go on with {run}: {misfit}: restore the data")
        return _train(config, run, dataset, accelerator, resume=True)


def _lengthened(config: TrainingConfig, steps: int | None, run: Path) -> TrainingConfig:
    if steps is None or steps == config.steps:
        return config
    if steps < 1:
        raise UserError(f"--steps must be at least 1, got {steps}")
    try:
        lengthened = replace(config, steps=steps)
    except ValueError as error:
        raise UserError(f"--steps {steps} does not fit the run: {error}") from error
    done = checkpoint.latest_step(run / CHECKPOINTS) or 0
    if config.lr_decay_from is not None and done > config.lr_decay_from:
        raise UserError(
            f"--steps {steps} does not fit the run: its learning rates fall from step {config.lr_decay_from} on to 0 at"
            f" step {config.steps}, and it is at step {done}: with another end they would jump: start a new run"
        )
    return lengthened


def read_config(run: Path) -> TrainingConfig:
    """The resolved configuration that a run was started with."""
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} is no run: it has no {CONFIG}")
    data = read_yaml(run / CONFIG)
    task = data.get("task") if isinstance(data, dict) else None
    if not isinstance(task, str) or task not in TASKS:
        raise UserError(f"{run / CONFIG}: task must be one of {sorted(TASKS)}, got {task!r}")
    return from_dict(TASKS[task][0], data, str(run / CONFIG))


def _train(
    config: TrainingConfig,
    run: Path,
    dataset: ImageDataset,
    accelerator: Accelerator,
    *,
    resume: bool,
) -> int:
    checksum = _checksum(dataset, config.data)
    check_same_run(config, dataset, checksum)
    task: Task = TASKS[config.task][1](config, accelerator)
    if config.evaluate_every:  # what is wrong with it shows now, not after hours
        other = config.evaluation_data
        validation = _load_data(config, other, run, accelerator) if other else dataset
        if other:
            check_same_pictures(other, validation, _checksum(validation, other))
        task.prepare_evaluation(validation)
    with run_lock(run) if accelerator.is_main_process else nullcontext():  # no other writes there
        if accelerator.is_main_process and not resume:
            check_new(run)  # again: another start may have been quicker
        return _go_on(config, run, dataset, checksum, task, accelerator, resume=resume)


def _go_on(
    config: TrainingConfig,
    run: Path,
    dataset: ImageDataset,
    checksum: int,
    task: Task,
    accelerator: Accelerator,
    *,
    resume: bool,
) -> int:
    """Takes the steps from the newest checkpoint, or the first step, to the end or a stop; returns the exit code."""
    main = accelerator.is_main_process
    start, best, complaints = 0, float("inf"), list[str]()
    sums = FigureSums(accelerator.device)
    divergence = Divergence(run, run / CHECKPOINTS, skip=config.on_nonfinite == "skip")
    if resume:
        # A run that was killed before its first checkpoint starts again: it would do the same steps anyway.
        state, complaints = checkpoint.newest(run / CHECKPOINTS, accelerator.device)
        if state is not None:
            start, best = _restore(task, divergence, sums, state, config, len(dataset), run)
            if state.get("checksum", checksum) != checksum:  # checkpoints of earlier versions have none
                complaints.append(f"{config.data} holds other pictures than those that {run} was trained on until now")
        check_agreed(start, run, accelerator)
    if main:
        clear_leftovers(run, LEFTOVERS if resume else HALF_A_START)
    if main and (not resume or config != read_config(run)):  # a new number of steps holds for the next resume too
        _write_config(config, run)
    accelerator.wait_for_everyone()
    journal = Journal(
        run,
        start=start,
        steps=config.steps,
        batch_size=config.batch_size,
        tensorboard=config.tensorboard,
        speak=main,
    )
    order = _Order(config, config.trained_on(len(dataset)), accelerator)
    with (
        journal,
        Prefetcher(dataset, order, task.batches_before(start)) as batches,
        stop_signals(accelerator.num_processes) as stop,
    ):
        for sentence in complaints:
            journal.say(f"{sentence}; going on from step {start}")
        journal.say(_describe(config, dataset, accelerator, run))
        step = start
        while step < config.steps:
            share = _read(batches, task.batches_before(step + 1) - task.batches_before(step), run)
            sums.add(step, task.step(step, share))
            step += 1
            journal.advance(step)
            last, stopping = step == config.steps, stop.asked()
            saving = step % config.checkpoint_every == 0 or last or stopping

            if step % config.log_every == 0 or last:
                line = sums.line(accelerator)
                line = line._replace(means=line.means | task.usage())
                divergence.count(line)
                journal.record(step, line.means | divergence.figures())
                for sentence in divergence.judge(line):
                    journal.say(sentence)
                sums.clear()
            elif saving and config.on_nonfinite == "stop":  # a run that has diverged must not replace a good checkpoint
                divergence.stop_if_diverged(sums.line(accelerator))

            # All that a step leaves is written before its checkpoint: what a crash cuts short is then done again.
            if main and (step % config.sample_every == 0 or last):
                task.write_samples(run / SAMPLES / f"step-{step:07d}.png")
            if config.evaluate_every and (step % config.evaluate_every == 0 or last):
                evaluation = task.evaluate(step)
                journal.record_evaluation(step, evaluation.figures)
                if evaluation.notice is not None:
                    journal.say(evaluation.notice)
                if main and evaluation.score < best:
                    _save_model(task, run / BEST, step)
                best = min(best, evaluation.score)
            if saving:
                figures = sums.state(accelerator)
                if main:
                    _save_model(task, run / MODEL, step)
                    journal.sync()
                    state = {"step": step, "best": best, "pictures": len(dataset), "task": task.state()}
                    state |= {"checksum": checksum, "figures": figures, **divergence.state()}
                    checkpoint.save(run / CHECKPOINTS, step, state, config.keep_checkpoints)
                divergence.last_good = step
            if stopping and not last:
                journal.say(f"stopped at step {step}; go on with: {resume_command(run)}")
                break
        else:
            journal.say(f"done: {step} steps; samples in {run / SAMPLES}, the model in {run / MODEL}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return 128 + stop.number if step < config.steps else 0


def _read(batches: Prefetcher, count: int, run: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    try:
        return [batches.next() for _ in range(count)]
    except RuntimeError as error:
        raise UserError(f"{error}; see to the data, then go on with: {resume_command(run)}") from error


def _restore(
    task: Task,
    divergence: Divergence,
    sums: FigureSums,
    state: dict[str, Any],
    config: TrainingConfig,
    pictures: int,
    run: Path,
) -> tuple[int, float]:
    """Puts a checkpoint into what it was taken of; returns its step and the best score until then."""
    step: int = state["step"]
    if config.steps < step:
        raise UserError(f"{run} is at step {step} already: {config.steps} steps in all cannot be reached")
    if state.get("pictures", pictures) != pictures:  # another number means another order
        raise UserError(
            f"{config.data} has {pictures} pictures, but {run} was trained on {state['pictures']}: restore the data"
        )
    try:
        task.load_state(state["task"])
        divergence.load_state(state)
        divergence.last_good = step
        sums.load_state(state.get("figures", []))  # checkpoints of earlier versions have none
        return step, float(state["best"])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"the checkpoint of step {step} does not fit {run / CONFIG}: undo its changes") from error


class _Order:
    """Which pictures this process reads as its share of batch k."""

    def __init__(self, config: TrainingConfig, items: np.ndarray, accelerator: Accelerator) -> None:
        self._config, self._items = config, items
        share = config.batch_size // accelerator.num_processes
        self._share = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)
        self._seed = seed_for(config.seed, "order")

    def __call__(self, batch: int) -> np.ndarray:
        return self._items[batch_indices(len(self._items), batch, self._config.batch_size, self._seed)[self._share]]


def _accelerator(config: TrainingConfig) -> Accelerator:
    with met():
        device = resolve_device(config.device)
    accelerator = meet(cpu=device.type == "cpu")
    pieces = accelerator.num_processes * config.accumulation
    if config.batch_size % pieces:
        raise UserError(
            f"batch_size {config.batch_size} cannot be shared by {accelerator.num_processes} processes in "
            f"{config.accumulation} pieces each: choose a multiple of {pieces}"
        )
    return accelerator


def _check_memory(config: TrainingConfig, accelerator: Accelerator) -> None:
    """Refuses absurd numbers before memory is taken; what the networks compute on the way takes more than this."""
    held = config.weights_memory if accelerator.device.type == "cpu" else 0  # else they are on the device
    need = held + 2 * config.batch_memory(accelerator.num_processes)  # a batch is real and fake
    check_memory(need, "training these networks on this batch", "make channels, classes or batch_size smaller")


def _fitted(config: TrainingConfig, dataset: ImageDataset, fixed: Sequence[str]) -> TrainingConfig:
    """The configuration for these pictures, without a change to what was chosen."""
    fitted = config.fitted_to(dataset)
    for name in fixed:
        chosen, found = field_of(config, name), field_of(fitted, name)
        if chosen != found:
            raise UserError(
                f"--{name} {_plain(chosen)} does not fit {config.data}, which has {_plain(found)}: leave it out"
            )
    return fitted


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _load_data(config: TrainingConfig, source: str, run: Path, accelerator: Accelerator) -> ImageDataset:
    if not source:
        raise UserError("no data was named: give --data a folder, parquet file(s) or a built-in set such as digits")
    with accelerator.main_process_first():  # one process prepares what the others then open
        return load(source, config.prepared_size, cache=run.parent / PREPARED)


def _checksum(dataset: ImageDataset, source: str) -> int:
    try:
        return dataset.checksum()
    except OSError as error:
        raise UserError(f"cannot read {source} ({error.strerror or error}): see to the data") from error


def _write_config(config: TrainingConfig, run: Path) -> None:
    try:
        with written_aside(run / CONFIG) as aside:
            aside.write_text(to_yaml(config), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {run / CONFIG}: {error}; choose a folder that can be written") from error


def _save_model(task: Task, folder: Path, step: int) -> None:
    """Writes the model of a step aside and swaps it in, so that a reader never meets half a model."""
    place = folder.resolve()  # of a link what it leads to, so that all is on one disk
    aside = place.with_name(f".{place.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        task.save_model(aside)
        write_step(aside, step)
        swap_in(aside, place)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise UserError(f"cannot write the model to {folder}: {error}; free some space, then resume") from error


def _describe(config: TrainingConfig, dataset: ImageDataset, accelerator: Accelerator, run: Path) -> str:
    held_out = len(dataset) - len(config.trained_on(len(dataset)))
    classes = f" of {dataset.num_classes} classes" if dataset.num_classes > 1 else ""
    return (
        f"{len(dataset)} pictures{classes} at {dataset.size}x{dataset.size}"
        f"{f', {held_out} of them held out' if held_out else ''}; "
        f"{accelerator.num_processes} process(es) on {accelerator.device.type}, {config.precision}, "
        f"{os.environ.get('OMP_NUM_THREADS') or torch.get_num_threads()} threads; run {run}"
    )
