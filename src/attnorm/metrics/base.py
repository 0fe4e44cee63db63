"""What a metric is: statistics that are updated with the features of images, and a value computed from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from attnorm.metrics.distributed import gather_rows


class Batch(NamedTuple):
    """Features (b, d), class probabilities (b, k) or None, and positions (b) in the whole set of `total` images."""

    features: Tensor
    probabilities: Tensor | None
    positions: Tensor
    total: int


class Statistics(ABC):
    """What is kept of one set of images; made without arguments, its attributes are numbers and tensors."""

    @abstractmethod
    def update(self, batch: Batch) -> None:
        """Adds some images."""

    @abstractmethod
    def synchronize(self) -> None:
        """Merges the statistics of all processes, each of which has seen some images."""


class FeatureRows(Statistics):
    """All features (n, d) float32, on the CPU, in the order of the images."""

    def __init__(self) -> None:
        self.features = torch.zeros(0)

    def update(self, batch: Batch) -> None:
        self.features = torch.cat([self.features, batch.features.float().cpu()])

    def synchronize(self) -> None:
        self.features = gather_rows(self.features)


@dataclass(frozen=True)
class MetricValue:
    """values: the main one first. better: which way the main one should go. details: further facts for the record.
    counts: real and generated images, where they are not those of the whole evaluation.
    """

    values: dict[str, float]
    better: Literal["lower", "higher", "each"] = "lower"
    details: dict[str, Any] = field(default_factory=dict)
    counts: tuple[int, int] | None = None

    @property
    def main(self) -> float:
        """The value that checkpoints are compared by."""
        return next(iter(self.values.values()))


class Metric(ABC):
    """A metric: its class attributes say what it needs, `compute` how its value follows from the statistics."""

    key: ClassVar[str]  # on the command line
    standard: ClassVar[str]  # its name with the Inception network
    stem: ClassVar[str]  # with any other, where the network's name follows
    statistics: ClassVar[type[Statistics]]  # of each set of images
    compares: ClassVar[bool] = True  # whether it looks at the real images
    probabilities: ClassVar[bool] = False  # whether it needs class probabilities
    by_class: ClassVar[bool] = False  # whether it compares the images of one class after another
    fewest: ClassVar[int] = 2  # images that it needs of each set, or of each class

    @abstractmethod
    def compute(self, real: Any, fake: Any, seed: int, device: torch.device) -> MetricValue:
        """The value from the statistics of both sets.

        Args:
            real: None for a metric that compares nothing.
            seed: of random subsets.
            device: where metrics that keep all features compute, in float64.
        """
