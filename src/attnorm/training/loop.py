"""The training loop for all tasks. A task defines what one step is."""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from attnorm.config import derive, field_of, parse, read_yaml, to_yaml
from attnorm.data.batches import Prefetcher, batch_indices
from attnorm.data.builtin import BUILTIN
from attnorm.data.choice import DEFAULT
from attnorm.data.dataset import ImageDataset
from attnorm.data.prepare import load
from attnorm.errors import UserError, counted
from attnorm.files import explained, folder_aside, output_file
from attnorm.memory import keep_freed_memory
from attnorm.metrics.distributed import Processes, check_alike, joined, main_first
from attnorm.models.pretrained import write_step
from attnorm.pipelines.base import resolve_device
from attnorm.training import checkpoint, run_folder
from attnorm.training.class_conditional import ClassConditionalConfig, ClassConditionalTask
from attnorm.training.config import TrainingConfig
from attnorm.training.fine_tuning import start_from
from attnorm.training.inpainting import InpaintingConfig, InpaintingTask
from attnorm.training.logger import Logger
from attnorm.training.run_folder import BEST, BEST_OF_PHASE_1, CHECKPOINTS, CONFIG, MODEL, PREPARED, SAMPLES
from attnorm.training.running_metrics import RunningMetrics, stop_if_diverged
from attnorm.training.runtime import StopSignals, resolve_precision, seed_for, set_numerics

FIRST_SAMPLES = (1, 100)  # additional steps with samples, to see early that training works

Task = ClassConditionalTask | InpaintingTask  # both derive from `AdversarialTask`
# Configuration and task classes by name.
TASKS: dict[str, tuple[type[TrainingConfig], Callable[[Any, Processes], Task]]] = {
    "class-conditional": (ClassConditionalConfig, ClassConditionalTask),
    "inpainting": (InpaintingConfig, InpaintingTask),
}


def begin(config: TrainingConfig, run: Path, fixed: Sequence[str] = ()) -> int:
    """Starts a run in a new or empty folder and trains it; returns the exit code.

    `fixed` are dotted names of fields that the user set, which the data must not change.
    """
    with joined(str(resolve_device(config.device))) as processes:
        if processes.is_main:
            run_folder.check_new(run)
        config = derive(config, {"precision": resolve_precision(config.precision, processes.device)})
        _check(config, processes)
        dataset = _load_data(config, run)
        fitted = config.fitted_to(dataset)
        for name in fixed:
            if field_of(config, name) != (found := field_of(fitted, name)):
                raise UserError(f"--{name} does not fit {config.data}, which has {found}: leave it out")
        if config.batch_size > (count := len(config.trained_on(len(dataset)))):
            images = counted(count, "image")
            raise UserError(f"batch_size {config.batch_size} is more than the {images} to train on: lower it")
        return _train(with_absolute_paths(fitted), run, dataset, processes, resuming=False)


def resume(run: Path, changes: Mapping[str, Any] = MappingProxyType({})) -> int:
    """Continues a run from its newest intact checkpoint; returns the exit code.

    `changes` are `steps`, to train longer than planned, `device`, `log_to`, or where moved files are now (`data`, …).
    """
    config = read_config(run)
    if others := changes.keys() - {"steps", "device", "log_to", *config.paths}:
        raise UserError(f"--{min(others)} cannot change in a resumed run: start a new one, with --init-from {run}")
    if "steps" in changes:
        config = config.with_steps(changes["steps"])
    config = with_absolute_paths(derive(config, dict(changes), "command line"))
    for name in config.paths:
        place = Path(field_of(config, name))
        if place.is_absolute() and not place.exists() and name != "init_from":
            raise UserError(f"{place} no longer exists: give its new place with --{name}")
    with joined(str(resolve_device(config.device))) as processes:
        _check(config, processes)
        dataset = _load_data(config, run)
        if config.fitted_to(dataset) != config:
            raise UserError(f"the classes of {config.data} are no longer those of {run}: restore the data")
        return _train(config, run, dataset, processes, resuming=True)


def read_config(run: Path) -> TrainingConfig:
    """The complete configuration of a run."""
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} is not a run directory: {CONFIG} is missing")
    data = read_yaml(run / CONFIG)
    task = data.get("task") if isinstance(data, dict) else None
    if task not in TASKS:
        raise UserError(f"{run / CONFIG} is invalid: task must be one of {sorted(TASKS)}, got {task!r}")
    return parse(TASKS[task][0], data, str(run / CONFIG))


def with_absolute_paths(config: TrainingConfig) -> TrainingConfig:
    """The configuration with absolute paths, so that the run can be resumed from any folder."""
    named = {name: field_of(config, name) for name in config.paths}
    places = {name: Path(value).resolve() for name, value in named.items() if value and value not in BUILTIN}
    return derive(config, {name: str(place) for name, place in places.items() if place.exists()})


def _train(config: TrainingConfig, run: Path, dataset: ImageDataset, processes: Processes, *, resuming: bool) -> int:
    """Trains from the newest checkpoint, or the first step, to the end or a stop; returns the exit code."""
    set_numerics(config.precision, deterministic=config.deterministic)
    keep_freed_memory()
    checksum = dataset.checksum()
    check_alike({"the checksum of the images": checksum}, f"{config.data} must be the same on every machine")

    # Networks.
    task: Task = TASKS[config.task][1](config, processes)
    if config.evaluate_every:
        other = config.evaluation_data
        task.prepare_evaluation(_load_data(config, run, other) if other else dataset)

    # State.
    checkpoints = run / CHECKPOINTS
    step, best = 0, dict[int, float]()  # the best score of each phase
    running, good = RunningMetrics(processes), None  # the newest checkpoint
    # A run that was killed before its first checkpoint starts again, and takes the same steps.
    state, damaged = checkpoint.newest(checkpoints) if resuming else (None, [])
    if state is None:
        notes = start_from(config.init_from, config.task, task.networks, task.ema)
    else:
        step, best = state["step"], state["best"]
        _restore(state, task, config, checksum, run)
        running.load_state(state["metrics"])
        good = checkpoint.path_of(checkpoints, step)
        notes = [f"{problem}; continuing from step {step}" for problem in damaged]
    check_alike({"the newest checkpoint": step}, f"all processes must see the same folder {run}")

    with run_folder.run_lock(run) if processes.is_main else nullcontext():
        if processes.is_main:
            run_folder.remove_partial_files(run)
            if not resuming or config != read_config(run):  # changes apply to the next resume too
                with output_file(run / CONFIG) as aside:
                    aside.write_text(to_yaml(config), encoding="utf-8")
        processes.wait()
        order, first = _order(config, len(dataset), processes), task.batches_before(step)
        batches = Prefetcher(dataset, order, first, prepare=task.prepare)
        logger = Logger(run, config, step, task.shown, enabled=processes.is_main)

        with logger, batches, StopSignals(processes.count) as stop:
            for note in (*notes, _describe(config, dataset, processes, run)):
                logger.print(note)
            while step < config.steps and not stop.number:
                # One step.
                share = _read(batches, task.batches_before(step + 1) - task.batches_before(step), run)
                running.add(step, task.step(step, share))
                step += 1
                logger.advance(step)
                last = step == config.steps
                saving = stop.asked() or last or step % config.checkpoint_every == 0

                # Log.
                if step % config.log_every == 0 or last:
                    means, not_finite = running.line()
                    logger.record(step, means | task.usage())
                    stop_if_diverged(not_finite, good)
                    running.clear()
                elif saving:  # a diverged run must not replace a good checkpoint
                    stop_if_diverged(running.line()[1], good)

                # Samples and evaluation come before the checkpoint, so that they are repeated after a crash.
                if processes.is_main and (step in FIRST_SAMPLES or step % config.sample_every == 0 or last):
                    task.write_samples(run / SAMPLES / f"step-{step:07d}.png")
                if config.evaluate_every and (step % config.evaluate_every == 0 or last):
                    metrics, score, phase = task.evaluate(step)
                    logger.record_evaluation(step, metrics)
                    if score < best.get(phase, math.inf):
                        best[phase] = score
                        _save_model(task, run / BEST, step)
                        if phase == 1:  # kept when phase 2 replaces the other
                            _save_model(task, run / BEST_OF_PHASE_1, step)

                # Checkpoint.
                if saving:
                    _save_model(task, run / MODEL, step)
                    state = {"step": step, "best": best, "checksum": checksum, "metrics": running.state()}
                    if processes.is_main:
                        logger.sync()
                        state |= {"task": task.state(), "lr_factor": task.lr_factor(step)}
                        checkpoint.save(checkpoints, step, state, config.keep_checkpoints, run / MODEL)
                    good = checkpoint.path_of(checkpoints, step)
        processes.wait()
    if processes.is_main and step < config.steps:
        print(f"stopped at step {step}; continue with: {run_folder.resume_command(run)}")
    elif processes.is_main:
        more = f"\nthe best model is in {run / BEST}" if (run / BEST).exists() else ""
        print(f"done: {counted(step, 'step')}; samples in {run / SAMPLES}, the model in {run / MODEL}{more}")
    return 128 + stop.number if step < config.steps else 0


def _check(config: TrainingConfig, processes: Processes) -> None:
    """Checks, before anything is written, that the batch can be divided and that the tracker is installed."""
    pieces = processes.count * config.accumulation
    if config.batch_size % pieces:
        how = f"{counted(processes.count, 'process')} and accumulation {config.accumulation}"
        raise UserError(f"batch_size {config.batch_size} cannot be divided among {how}: choose a multiple of {pieces}")
    if config.log_to in ("wandb", "trackio"):
        importlib.import_module(config.log_to)


def _restore(state: dict[str, Any], task: Task, config: TrainingConfig, checksum: int, run: Path) -> None:
    """Loads the task's state from a checkpoint that fits the configuration and the images."""
    step = state["step"]
    if config.steps < step:
        raise UserError(f"{run} is at step {step} already: it cannot end at {counted(config.steps, 'step')}")
    if state["checksum"] != checksum:
        raise UserError(f"{config.data} has other images than {run} was trained on: restore them, or give their --data")
    try:
        task.load_state(state["task"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"the checkpoint of step {step} does not fit {run / CONFIG}: undo its changes") from error
    if task.lr_factor(step) != state["lr_factor"]:
        what = f"at step {step} its learning rates already fall towards another last step"
        raise UserError(f"--steps {config.steps} does not fit {run}: {what}: start a new run")


def _order(config: TrainingConfig, count: int, processes: Processes) -> Callable[[int], np.ndarray]:
    """A function from k to the indices, among `count` images, of this process's share of batch k."""
    items, seed = config.trained_on(count), seed_for(config.seed, "order")
    share = config.batch_size // processes.count
    own = slice(processes.rank * share, (processes.rank + 1) * share)
    return lambda batch: items[batch_indices(len(items), batch, config.batch_size, seed)[own]]


def _read(batches: Prefetcher, count: int, run: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    try:
        return [batches.next() for _ in range(count)]
    except RuntimeError as error:
        raise UserError(f"{error}; fix that, then continue with: {run_folder.resume_command(run)}") from error


def _load_data(config: TrainingConfig, run: Path, other: str = "") -> ImageDataset:
    """The data of the run, or the images of its evaluation."""
    source, choice = (other, DEFAULT) if other else (config.data, config.choice)
    with main_first():  # one process prepares the data, the others then open it
        return load(source, config.prepared_size, choice, cache=run.parent / PREPARED)


def _save_model(task: Task, folder: Path, step: int) -> None:
    """Writes the model of a step aside and swaps it in, so that readers always see a complete model."""
    if not task.processes.is_main:
        return
    place = folder.resolve()  # resolves links, so that both folders are on one disk
    problem = f"cannot write the model to {folder}"
    with explained(problem, "free some space, then resume", SafetensorError), folder_aside(place) as aside:
        task.save_model(aside)
        write_step(aside, step)


def _describe(config: TrainingConfig, dataset: ImageDataset, processes: Processes, run: Path) -> str:
    images = counted(len(dataset), "image")
    if config.task == "class-conditional":
        images += f" of {counted(dataset.num_classes, 'class')}"
        images += " (for several, use a folder for each)" if dataset.num_classes == 1 else ""
    held_out = len(dataset) - len(config.trained_on(len(dataset)))
    images += f" at {dataset.size}×{dataset.size}{f', {held_out} of them held out' if held_out else ''}"
    several = f"{counted(processes.count, 'process')} on {processes.device}"
    return f"{images}; {several}, {config.precision}, threads: {torch.get_num_threads()}; run {run}"
