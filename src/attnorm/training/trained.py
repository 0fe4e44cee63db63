"""Finds a trained model with the requested weights, including those that are only in a run's checkpoints."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from attnorm.data.choice import Choice
from attnorm.data.dataset import ImageDataset
from attnorm.data.sources import place_of
from attnorm.errors import UserError
from attnorm.models.class_conditional import Generator
from attnorm.models.pretrained import Task, find_model, is_image_set, step_of, task_of, unwrapped
from attnorm.pipelines import ClassConditionalPipeline, InpaintingPipeline
from attnorm.training import checkpoint
from attnorm.training.class_conditional import prepare_for_sampling
from attnorm.training.loop import read_config
from attnorm.training.run_folder import CHECKPOINTS, CONFIG, SAVED, resume_command

Weights = Literal["ema", "raw"]
PIPELINES: dict[Task | None, Any] = {"inpainting": InpaintingPipeline, "class-conditional": ClassConditionalPipeline}


class Trained(NamedTuple):
    """A model, by its `source`, with the weights of one step (None if unknown).

    run, config: None for a model outside of a run. checkpoint: the one with the weights; None for a saved model.
    """

    source: str
    run: Path | None
    config: Any
    kind: Literal["ema", "raw", "unknown"]
    step: int | None
    checkpoint: Path | None = None

    @property
    def task(self) -> Task | None:
        if self.config:
            return self.config.task
        return None if is_image_set(self.source) else task_of(self.source)

    def is_own_data(self, data: str, choice: Choice) -> bool:
        """Whether this is the data of the run, however it is spelled."""
        return self.config is not None and (place_of(data), choice) == (place_of(self.config.data), self.config.choice)

    def has_seen(self, data: str, choice: Choice, dataset: ImageDataset) -> bool:
        """Whether the run was trained on these images, by their place or the checksum in its newest checkpoint."""
        if self.run is None:
            return False
        if self.is_own_data(data, choice):
            return True
        with suppress(UserError):  # a damaged checkpoint is the concern of `attnorm resume`
            state, _ = checkpoint.newest(self.run / CHECKPOINTS)
            return state is not None and state["checksum"] == dataset.checksum()
        return False

    def pipeline(self, device: str = "auto", task: Task | None = None) -> Any:
        """The pipeline. For raw weights of a generator, standing statistics are measured as in a run.

        Raises a UserError if the model is not for `task`, is damaged, or PyTorch cannot use the device.
        """
        kind = PIPELINES.get(task or self.task, ClassConditionalPipeline)
        pipe = kind.from_pretrained(self.source, device)
        if self.checkpoint is None:
            return pipe
        try:
            pipe.generator.load_state_dict(unwrapped(checkpoint.load(self.checkpoint)["task"]["generator"]))
        except UserError as error:
            remedy = f"choose another, or write it again with `{resume_command(self.checkpoint.parents[1])}`"
            raise UserError(f"{error}: {remedy}") from error
        except (RuntimeError, KeyError) as error:
            raise UserError(f"{self.checkpoint} does not fit the {CONFIG} of its run: undo its changes") from error
        if isinstance(pipe.generator, Generator):
            prepare_for_sampling(pipe.generator, self.config)
        return pipe


def find_trained(source: str | Path, weights: Weights | None = None) -> Trained:
    """A run, RUN/checkpoints/step-N, a saved model of a run, or a model as in `find_model`.

    `weights` is "ema" or "raw", for a run or checkpoint; None for averaged weights if there are any. Weights that a run
    does not save as a model come from its newest checkpoint. Raises a UserError if there are no such weights.
    """
    path = Path(source)
    folder = path if is_image_set(source) else find_model(source)
    in_run = path.parent.name == CHECKPOINTS
    run = path.parents[1] if in_run else path.parent if path.name in SAVED else path
    if not (run / CONFIG).is_file():
        if weights is not None:
            raise UserError(f"--weights is for runs, and {source} is not a run: leave it out")
        return Trained(str(source), None, None, "unknown", step_of(folder))
    config: Any = read_config(run)
    saved: Weights = "ema" if config.ema_half_life > 0 else "raw"
    kind = weights or saved
    if kind == saved:
        return Trained(str(source), run, config, kind, step_of(folder))
    newest = checkpoint.latest_step(run / CHECKPOINTS)
    if newest is None or kind == "ema" or not (in_run or path == run):
        remedy = "raw ones are in the checkpoints of a run, averaged ones in a run with an ema_half_life"
        raise UserError(f"{source} has no {kind} weights: {remedy}")
    where = path if in_run else checkpoint.path_of(run / CHECKPOINTS, newest)
    return Trained(str(source), run, config, kind, int(where.name.removeprefix("step-")), where)
