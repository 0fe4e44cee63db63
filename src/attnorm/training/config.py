"""What every run has in common, whatever the task: the fields of config.yaml that the loop reads."""

import math
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field
from typing_extensions import Self

from attnorm.config import Frozen, derive
from attnorm.data.choice import Choice
from attnorm.data.dataset import ImageDataset

Precision = Literal["auto", "float32", "bf16", "fp16"]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]


class Evaluation(NamedTuple):
    """The metrics of a model by name, and the score (lower is better) that chooses the best model.

    phase: that the model was trained in; scores are compared within a phase. 0 where there is one phase only.
    """

    metrics: dict[str, float]
    score: float
    phase: int = 0


class TrainingConfig(Frozen):
    """Settings of the loop, and of a generator and its opponent. A task's configuration adds its own fields to these.

    One step is one generator update on `batch_size` images over all processes together; each process takes its share
    in `accumulation` pieces, which bounds memory: batch statistics are those of a piece.
    """

    task: str = ""  # which task's configuration this is
    data: str = ""  # a folder, parquet file(s), a prepared set, or the name of a built-in set
    split: str | None = None  # of the data: train, val or test, or several as train+val
    label_column: str | None = None
    image_column: str | None = None
    init_from: str = ""  # a run, checkpoint or model whose weights the training starts from; empty: new ones
    steps: int = Field(10_000, ge=1, le=10**12)
    batch_size: int = Field(64, ge=1, le=1 << 20)
    accumulation: Count = 1
    seed: Seed = 0
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    # "auto": bf16 autocast where the processor multiplies bf16 natively, else float32. "fp16", for GPUs without bf16,
    # scales the losses.
    precision: Precision = "auto"
    deterministic: bool = False  # slower algorithms that give the same bits on every run, on a GPU too
    channels_last: bool = True
    compile: bool = False  # torch.compile of the networks: minutes before the first step; needs a C++ compiler
    log_every: Count = 50
    sample_every: Count = 500
    checkpoint_every: Count = 500
    keep_checkpoints: Count = 2
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"  # falls to 0 at the end of each phase
    lr_hold: float = Field(0, ge=0, lt=1)  # the share of a phase before learning rates begin to fall
    evaluate_every: int = Field(0, ge=0)  # 0: never; the model that evaluates best is kept in RUN/best
    log_to: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"  # beside RUN/log.jsonl
    generator_lr: Rate = 1e-4
    betas: tuple[Beta, Beta] = (0.0, 0.999)
    orthogonal_weight: Weight = 1e-3  # lambda_o of eq. 1
    horizontal_flip: bool = True
    ema_half_life: Weight = 10_000  # in images
    ema_ramp_up: Weight = 0.05  # half-life as a share of the images seen, at most
    sample_rows: int = Field(10, ge=1, le=100)

    paths: ClassVar[tuple[str, ...]] = ("data", "init_from")  # fields that name a place on the disk, or a thing

    @property
    def choice(self) -> Choice:
        """What is read of `data`."""
        return Choice(self.image_column, self.label_column, self.split)

    @property
    def image_size(self) -> int:
        """The side of the images that the loop reads."""
        raise NotImplementedError

    @property
    def prepared_size(self) -> int:
        """The side at which raw images are prepared: larger than `image_size` where crops are drawn."""
        return self.image_size

    @property
    def evaluation_data(self) -> str:
        """Where the images of `evaluate_every` are, which are read whole; empty for the training data."""
        return ""

    def trained_on(self, count: int) -> np.ndarray:
        """Which of the data's `count` images are trained on: int64 indices."""
        return np.arange(count)

    def lr_factor(self, done: int, length: int) -> float:
        """The factor on every learning rate after `done` of the `length` steps of a phase: 1, then falling to 0."""
        start = self.lr_hold * length
        if self.lr_schedule == "constant" or done <= start:
            return 1.0
        left = max(length - done, 0) / (length - start)
        return left if self.lr_schedule == "linear" else (1 - math.cos(math.pi * left)) / 2

    def with_steps(self, steps: int) -> Self:
        """The configuration for a longer or shorter run, with the steps that are done unchanged."""
        return derive(self, {"steps": steps}, f"--steps {steps}")

    def _check_opponent(self, name: str, size: int) -> None:
        if size != self.image_size:
            what = f"the generator makes {self.image_size} pixels a side and the {name} takes {size}"
            raise ValueError(f"{what}: set both image sizes alike")

    def fitted_to(self, dataset: ImageDataset) -> Self:
        """The configuration for this set of images: how many classes it has, for instance."""
        raise NotImplementedError
