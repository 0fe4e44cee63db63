"""What a metric is: statistics that are updated with the features of images, and a value computed from them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from attnorm.metrics.distributed import gather_rows
from attnorm.metrics.features import INCEPTION, FeatureExtractor


def _null_is(number: float) -> BeforeValidator:
    return BeforeValidator(lambda value: number if value is None else value)


# In records; JSON has null for what is not finite: a deviation that does not exist, the PSNR of equal images.
Number = Annotated[float, Field(allow_inf_nan=True), _null_is(math.nan)]
NumberOrInfinity = Annotated[float, Field(allow_inf_nan=True), _null_is(math.inf)]

StatisticsType = TypeVar("StatisticsType", bound="Statistics")


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
        """Takes in some images."""

    @abstractmethod
    def synchronize(self) -> None:
        """Merges the statistics of all processes, each of which has seen some images."""

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            name: value.cpu().numpy() if isinstance(value, Tensor) else np.array(value)
            for name, value in vars(self).items()
        }

    @classmethod
    def from_arrays(cls: type[StatisticsType], arrays: Mapping[str, np.ndarray]) -> StatisticsType:
        statistics = cls()
        for name in vars(statistics):
            setattr(statistics, name, torch.from_numpy(arrays[name]) if arrays[name].ndim else arrays[name].item())
        return statistics


class FeatureRows(Statistics):
    """All features (n, d) float32, on the CPU, in the order of the images."""

    def __init__(self) -> None:
        self.features = torch.zeros(0)

    def update(self, batch: Batch) -> None:
        self.features = torch.cat([self.features, batch.features.float().cpu()])

    def synchronize(self) -> None:
        self.features = gather_rows(self.features)


class Options(NamedTuple):
    """seed: of subsets that metrics draw. device: where metrics that keep all features compute, in float64."""

    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class MetricValue:
    """values: the main one first. better: which way the main one should go. details: further facts for the record.
    counts: real and generated images, where they are not those of the whole evaluation.
    """

    values: dict[str, float]
    better: Literal["lower", "higher"] = "lower"
    details: dict[str, Any] = field(default_factory=dict)
    counts: tuple[int, int] | None = None

    @property
    def main(self) -> float:
        """The value that checkpoints are compared by."""
        return next(iter(self.values.values()))


class Metric(ABC):
    """A metric: its class attributes say what it needs, `compute` how its value follows from the statistics.

    key: what a person asks for.
    standard, stem: its name with the Inception network, and with any other, where the network's name follows.
    statistics: of each set of images.
    compares: whether it looks at the real images. probabilities: whether it needs class probabilities.
    by_class: whether it compares the images of each class, `compute` being called once per class.
    fewest: images that it needs of each set, or of each class.
    """

    key: ClassVar[str]
    standard: ClassVar[str]
    stem: ClassVar[str]
    statistics: ClassVar[type[Statistics]]
    compares: ClassVar[bool] = True
    probabilities: ClassVar[bool] = False
    by_class: ClassVar[bool] = False
    fewest: ClassVar[int] = 2

    @abstractmethod
    def compute(self, real: Any, fake: Any, options: Options) -> MetricValue:
        """The value from the statistics of both sets; `real` is None for a metric that compares nothing."""

    def name_with(self, extractor: FeatureExtractor, num: int) -> str:
        """The full name with the number of generated images: fid-50k, fd-efficientnet-lite0-5k, intra-fid-5k-per-class.

        Only the Inception network makes a Fréchet distance a FID.
        """
        stem = self.standard if extractor.name == INCEPTION else f"{self.stem}-{extractor.name}"
        count = f"{num // 1000}k" if num % 1000 == 0 else str(num)
        return f"{stem}-{count}{'-per-class' if self.by_class else ''}"
