"""What every run has in common, whatever the task: the fields of config.yaml that the loop reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "float32", "bf16"]


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the loop. A task's configuration adds its own fields to these.

    One step is one generator update on `batch_size` pictures over all processes together; each process takes its share
    in `accumulation` pieces, which bounds memory: batch statistics are those of a piece.
    """

    data: str = ""  # a folder, parquet file(s), a prepared set, or the name of a built-in set
    steps: int = 10_000
    batch_size: int = 64
    accumulation: int = 1
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    # "auto": bf16 autocast where the processor multiplies bf16 natively, else float32.
    precision: Precision = "auto"
    channels_last: bool = True
    log_every: int = 50
    sample_every: int = 500
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "log_every", "sample_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.keep_checkpoints < 1:
            raise ValueError(f"keep_checkpoints must be at least 1, got {self.keep_checkpoints}")
        if not 0 <= self.seed < 1 << 32:
            raise ValueError(f"seed must be from 0 to 2^32 - 1, got {self.seed}")
