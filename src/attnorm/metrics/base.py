"""What a metric is: statistics that are updated with the features of images, and a value computed from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

Arrays = Mapping[str, Tensor]  # finished statistics, by their names in .npz files


class Batch(NamedTuple):
    """Features (b, d), class probabilities (b, k) or None, and positions (b) in the whole set of `total` images."""

    features: Tensor
    probabilities: Tensor | None
    positions: Tensor
    total: int


class Statistics(ABC):
    """What is kept of one set of images; made without arguments, its attributes are its state."""

    needs: ClassVar[tuple[str, ...]] = ()  # arrays that a file needs in its place

    @abstractmethod
    def update(self, batch: Batch) -> None:
        """Adds some images."""

    def compute(self) -> dict[str, Tensor]:
        """What metrics compare."""
        return vars(self)


class FeatureRows(Statistics):
    """All features (n, d) float32, in the order of the images."""

    needs = ("feats",)

    def __init__(self) -> None:
        self.feats = torch.zeros(0)

    def update(self, batch: Batch) -> None:
        features = batch.features.float()
        self.feats = torch.cat([self.feats.to(features), features])


@dataclass(frozen=True)
class MetricValue:
    """values: the main one first. better: which way it should go. details: further facts for the record.
    counts: real and generated images, where they are not those of the whole evaluation. warning: why not to trust it.
    """

    values: dict[str, float]
    better: Literal["lower", "higher", "each"] = "lower"
    details: dict[str, Any] = field(default_factory=dict)
    counts: tuple[int, int] | None = None
    warning: str = ""

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
    def compute(self, real: Arrays, fake: Arrays, seed: int) -> MetricValue:
        """The value from the statistics of both sets, computed in float64; `seed` is that of random subsets."""
