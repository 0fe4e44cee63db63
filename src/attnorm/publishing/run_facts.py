"""What a run's own files say about the weights that are published."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from attnorm.errors import UserError
from attnorm.models.saved import step_of
from attnorm.shipped import CONFIG_FILE
from attnorm.training import checkpoint
from attnorm.training.class_conditional import ClassConditionalConfig
from attnorm.training.inpainting import InpaintingConfig
from attnorm.training.log_lines import EVALUATIONS, LOG, Lines, read_lines
from attnorm.training.loop import read_config
from attnorm.training.run_folder import BEST, CHECKPOINTS, CONFIG, MODEL, SAVED

Choice = Literal["best", "last"]
PublishedConfig = ClassConditionalConfig | InpaintingConfig
LAYOUT = ("sharpness", "effective_entities")


@dataclass(frozen=True)
class RunFacts:
    """folder: the weights', in the form of `save_pretrained`. step: theirs. best: whether a metric chose them.
    pictures: how many the run was given. evaluation: what it measured at that step, by name. layout: the figures of the
    generator's layout in the log at that step, or at the last one before where they were finite. complaints: a sentence
    for each file with lines that cannot be read.
    """

    run: Path
    config: PublishedConfig
    folder: Path
    step: int
    best: bool
    pictures: int
    evaluation: dict[str, float]
    layout: dict[str, float]
    complaints: list[str]

    @property
    def averaged(self) -> bool:
        return self.config.ema_half_life > 0

    @property
    def weights(self) -> Literal["ema", "raw"]:
        return "ema" if self.averaged else "raw"


def read_run(run: Path, choice: Choice | None = None) -> RunFacts:
    """The facts of a run's best weights where it measured while it trained, else of its last; `choice` says which.

    Of one of its folders with a saved model, such as RUN/best-phase-1, those of that model.

    Raises:
        UserError: the folder holds no run or no model, or what it holds does not fit together.
    """
    part = run.name if run.name in SAVED and (run.parent / CONFIG).is_file() else None
    run = run if part is None else run.parent
    config = read_config(run)
    if not isinstance(config, PublishedConfig):
        raise UserError(f"{run} is a run of the task {config.task}, which has no model to publish")
    best = (run / BEST / CONFIG_FILE).is_file() if choice is None else choice == "best"
    folder = run / (part or (BEST if best else MODEL))
    best = folder.name != MODEL
    if not (folder / CONFIG_FILE).is_file():
        reason = "it was trained without evaluate_every" if best else "it is written with the first checkpoint"
        raise UserError(f"{run} has no {folder.name} model: {reason}")
    state, complaints = checkpoint.newest(run / CHECKPOINTS)
    if state is None or complaints:
        raise UserError(f"{complaints[0] if complaints else f'{run} has no checkpoint'}: resume the run first")
    try:
        pictures, score = int(state["pictures"]), float(state["best"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"the checkpoint of step {state['step']} in {run} is none of a run that attnorm has trained: restore it"
        ) from error
    evaluations, log = _figures(run / EVALUATIONS), _figures(run / LOG)
    step = step_of(folder)  # a process killed before its checkpoint leaves a model newer than that
    if step is None:  # saved by an earlier version
        step = _best_step(run, config, evaluations.by_step, score) if best else state["step"]
    return RunFacts(
        run=run,
        config=config,
        folder=folder,
        step=step,
        best=best,
        pictures=pictures,
        evaluation={name: value for name, value in evaluations.by_step.get(step, {}).items() if math.isfinite(value)},
        layout=_layout(log.by_step, step),
        complaints=evaluations.complaints + log.complaints,
    )


def _figures(path: Path) -> Lines:
    return read_lines(path) if path.is_file() else Lines({}, [])


def _best_step(run: Path, config: PublishedConfig, evaluations: dict[int, dict[str, float]], score: float) -> int:
    """The step of the score that the checkpoint knows as the best."""
    for step, figures in evaluations.items():
        if math.isclose(abs(_main_figure(config, figures)), abs(score), rel_tol=1e-9):
            return step
    raise UserError(
        f"none of the evaluations in {run / EVALUATIONS} has the best score that its checkpoint knows: "
        "resume the run to its end, or take its last weights"
    )


def _main_figure(config: PublishedConfig, figures: dict[str, float]) -> float:
    """What the best model was chosen by: the first figure of a generator's evaluation; of inpainting the mean PSNR."""
    if isinstance(config, InpaintingConfig):
        refined = [value for name, value in figures.items() if name.startswith("refined.") and name.endswith(".psnr")]
        return sum(refined) / max(len(refined), 1)
    return next(iter(figures.values()), math.nan)


def _layout(log: dict[int, dict[str, float]], step: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for recorded, figures in log.items():
        if recorded <= step:
            for name, value in figures.items():
                figure = name.rpartition(".")[2]
                if name.startswith("generator.") and figure in LAYOUT and math.isfinite(value):
                    found[figure] = value
    return found
