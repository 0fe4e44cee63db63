"""What every run has in common, whatever the task: the fields of config.yaml that the loop reads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from attnorm.config import require_count
from attnorm.data.dataset import ImageDataset
from attnorm.json_records import LARGEST_STEP

LARGEST_STEPS = LARGEST_STEP
Precision = Literal["auto", "float32", "bf16"]
Config = TypeVar("Config", bound="TrainingConfig")


class Evaluation(NamedTuple):
    """What a task measured of its model: figures by name, and the score (lower is better) that chooses the best.

    notice: a sentence for the person, where the figures changed what the task does next.
    phase: that the model was trained in; scores are compared within a phase. 0 where there is one phase only.
    """

    figures: dict[str, float]
    score: float
    notice: str | None = None
    phase: int = 0


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the loop. A task's configuration adds its own fields to these.

    One step is one generator update on `batch_size` pictures over all processes together; each process takes its share
    in `accumulation` pieces, which bounds memory: batch statistics are those of a piece.
    """

    task: str = ""  # which task's configuration this is
    data: str = ""  # a folder, parquet file(s), a prepared set, or the name of a built-in set
    steps: int = 10_000
    batch_size: int = 64
    accumulation: int = 1
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # "auto": bf16 autocast where the processor multiplies bf16 natively, else float32.
    precision: Precision = "auto"
    channels_last: bool = True
    compile: bool = False  # torch.compile of the networks: minutes before the first step; needs a C++ compiler
    log_every: int = 50
    sample_every: int = 500
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    # "stop" where a loss or gradient is not finite; "skip" leaves such a step out and counts it.
    on_nonfinite: Literal["stop", "skip"] = "stop"
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"  # falls to 0 at the end of each phase
    lr_hold: float = 0.0  # the share of a phase before learning rates begin to fall
    evaluate_every: int = 0  # 0: never; the model that evaluates best is kept in RUN/best
    tensorboard: bool = True

    def __post_init__(self) -> None:
        require_count("steps", self.steps, LARGEST_STEPS)
        for name in ("batch_size", "accumulation", "log_every", "sample_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.keep_checkpoints < 1:
            raise ValueError(f"keep_checkpoints must be at least 1, got {self.keep_checkpoints}")
        if self.evaluate_every < 0:
            raise ValueError(f"evaluate_every must be at least 0, got {self.evaluate_every}")
        if not 0 <= self.lr_hold < 1:
            raise ValueError(f"lr_hold must be at least 0 and below 1, got {self.lr_hold}")
        if not 0 <= self.seed < 1 << 32:
            raise ValueError(f"seed must be from 0 to 2^32 - 1, got {self.seed}")

    @property
    def image_size(self) -> int:
        """The side of the pictures that the loop reads."""
        raise NotImplementedError

    @property
    def prepared_size(self) -> int:
        """The side at which raw pictures are prepared: larger than `image_size` where crops are drawn."""
        return self.image_size

    @property
    def evaluation_data(self) -> str:
        """Where the pictures of `evaluate_every` are, as `data`; empty for the training data."""
        return ""

    def trained_on(self, count: int) -> np.ndarray:
        """Which of the data's `count` pictures are trained on: int64 indices."""
        return np.arange(count)

    @property
    def weights_memory(self) -> int:
        """Bytes of the weights of all networks, their gradients, what the optimisers keep of them, and the average."""
        raise NotImplementedError

    def batch_memory(self, processes: int) -> int:
        """Bytes of the pictures of a piece of a batch, in float32."""
        pictures = -(-self.batch_size // (processes * self.accumulation))
        return pictures * self.prepared_size**2 * 3 * 4

    def lr_factor(self, done: int, length: int) -> float:
        """The factor on every learning rate after `done` of the `length` steps of a phase: 1, then falling to 0."""
        start = self.lr_hold * length
        if self.lr_schedule == "constant" or done <= start:
            return 1.0
        left = max(length - done, 0) / (length - start)
        return left if self.lr_schedule == "linear" else (1 - math.cos(math.pi * left)) / 2

    def fitted_to(self: Config, dataset: ImageDataset) -> Config:
        """The configuration for this set of pictures: how many classes it has, for instance."""
        raise NotImplementedError

    def misfit(self, dataset: ImageDataset) -> str | None:
        """Why a run with this configuration cannot go on with these pictures, or None."""
        raise NotImplementedError
