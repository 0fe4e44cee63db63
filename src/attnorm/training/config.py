"""The fields of config.yaml that both tasks share."""

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
    """The metrics of a model by name, and the score (lower is better) by which the best model is chosen.

    phase: the phase of training, 0 if there is only one; scores are compared within a phase.
    """

    metrics: dict[str, float]
    score: float
    phase: int = 0


class TrainingConfig(Frozen):
    """Settings of the loop and of the optimizers. The configuration of a task adds its own fields.

    One step is one generator update on `batch_size` images over all processes together. Each process computes its share
    in `accumulation` pieces to save memory; batch statistics are those of a piece.
    """

    task: str = ""  # class-conditional or inpainting
    data: str = ""  # a folder, parquet file(s), a prepared set, or the name of a built-in set
    split: str | None = None  # of the data: train, val, test, or several as in train+val
    label_column: str | None = None
    image_column: str | None = None
    init_from: str = ""  # a run, checkpoint or model to take the initial weights from; empty for new weights
    steps: int = Field(10_000, ge=1, le=10**12)
    batch_size: int = Field(64, ge=1, le=1 << 20)
    accumulation: Count = 1
    seed: Seed = 0
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    # "auto": bf16 autocast if the device supports bf16 natively, else float32. "fp16", for GPUs without bf16, scales
    # the losses.
    precision: Precision = "auto"
    deterministic: bool = False  # slower algorithms with the same bits in every run, on a GPU too
    channels_last: bool = True
    compile: bool = False  # torch.compile the networks: takes minutes, needs a C++ compiler
    log_every: Count = 50
    sample_every: Count = 500
    checkpoint_every: Count = 500
    keep_checkpoints: Count = 2
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"  # the others fall to 0 by the end of each phase
    lr_hold: float = Field(0, ge=0, lt=1)  # the fraction of a phase before learning rates start to fall
    evaluate_every: int = Field(0, ge=0)  # 0: never; the best model is kept in RUN/best
    log_to: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"  # in addition to RUN/log.jsonl
    generator_lr: Rate = 1e-4
    betas: tuple[Beta, Beta] = (0.0, 0.999)
    orthogonal_weight: Weight = 1e-3  # lambda_o of eq. 1
    horizontal_flip: bool = True
    ema_half_life: Weight = 10_000  # in images
    ema_ramp_up: Weight = 0.05  # upper bound of the half-life, as a fraction of the images seen
    sample_rows: int = Field(10, ge=1, le=100)

    paths: ClassVar[tuple[str, ...]] = ("data", "init_from")  # fields with a path or a name

    @property
    def choice(self) -> Choice:
        """The split and columns of `data` to read."""
        return Choice(self.image_column, self.label_column, self.split)

    @property
    def image_size(self) -> int:
        """The side of the training images."""
        raise NotImplementedError

    @property
    def prepared_size(self) -> int:
        """The side at which raw images are prepared: larger than `image_size` if the task draws crops."""
        return self.image_size

    @property
    def evaluation_data(self) -> str:
        """The data for `evaluate_every`, read without split and columns; empty for the training data."""
        return ""

    def trained_on(self, count: int) -> np.ndarray:
        """The indices (int64) of the training images among the `count` images of the data."""
        return np.arange(count)

    def lr_factor(self, done: int, length: int) -> float:
        """The factor of all learning rates after `done` of the `length` steps of a phase: 1, then falling to 0."""
        start = self.lr_hold * length
        if self.lr_schedule == "constant" or done <= start:
            return 1.0
        left = max(length - done, 0) / (length - start)
        return left if self.lr_schedule == "linear" else (1 - math.cos(math.pi * left)) / 2

    def with_steps(self, steps: int) -> Self:
        """A copy with another number of steps, under which the steps so far would have been the same."""
        return derive(self, {"steps": steps}, f"--steps {steps}")

    def _check_opponent(self, name: str, size: int) -> None:
        if size != self.image_size:
            what = f"the generator makes {self.image_size} pixels a side and the {name} takes {size}"
            raise ValueError(f"{what}: set both image sizes to the same value")

    def fitted_to(self, dataset: ImageDataset) -> Self:
        """The configuration fitted to a data set, for example to its number of classes."""
        raise NotImplementedError
