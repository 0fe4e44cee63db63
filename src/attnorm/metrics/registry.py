"""Metrics by name. A metric is a function under the decorator `metric`, in any module of this package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from attnorm.errors import UserError
from attnorm.metrics.features import INCEPTION, FeatureExtractor


class Options(NamedTuple):
    """seed: for metrics that draw subsets. device: for metrics that compute with all features, in float64.
    class_names: by label, for metrics that report on classes."""

    seed: int = 0
    device: str = "cpu"
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetricValue:
    """values: the figures, the main one first. better: which way it should go.
    details: what else a reader of the record wants to know.
    counts: real and generated images, where they are not those of the whole evaluation."""

    values: dict[str, float]
    better: Literal["lower", "higher"] = "lower"
    details: dict[str, Any] = field(default_factory=dict)
    counts: tuple[int, int] | None = None

    @property
    def main(self) -> float:
        """The figure that checkpoints are compared by."""
        return next(iter(self.values.values()))


Compute = Callable[..., MetricValue]


@dataclass(frozen=True)
class Metric:
    """A metric as registered; see `metric`."""

    key: str
    standard: str
    stem: str
    collector: type[Any]
    compute: Compute
    compares: bool
    probabilities: bool
    fewest: int
    by_class: bool

    def name_with(self, extractor: FeatureExtractor, num: int) -> str:
        """The field's name with the number of generated images, such as fid-50k or intra-fid-5k-per-class; with any
        other network than Inception the network is a part of the name, as in fd-efficientnet-lite0-5k."""
        stem = self.standard if extractor.name == INCEPTION else f"{self.stem}-{extractor.name}"
        count = f"{num // 1000}k" if num % 1000 == 0 else str(num)
        return f"{stem}-{count}{'-per-class' if self.by_class else ''}"


_METRICS: dict[str, Metric] = {}


def metric(
    key: str,
    *,
    standard: str,
    collector: type[Any],
    stem: str | None = None,
    compares: bool = True,
    probabilities: bool = False,
    fewest: int = 1,
    by_class: bool = False,
) -> Callable[[Compute], Compute]:
    """Registers `compute(real, fake, options)`, or `compute(fake, options)` of a metric that compares nothing.

    Args:
        key: what a person asks for.
        standard: the name of the metric with the Inception network.
        collector: the class that both sets are collected in.
        stem: with another extractor the metric is called STEM-EXTRACTOR; by default the key.
        compares: whether it looks at the real pictures.
        probabilities: whether the collector needs class probabilities.
        fewest: images that it needs on each side; checked before hours are spent on features.
        by_class: whether it compares the images of each class, `compute` being called once per class.
    """

    def register(compute: Compute) -> Compute:
        _METRICS[key] = Metric(
            key, standard, stem or key, collector, compute, compares, probabilities, fewest, by_class
        )
        return compute

    return register


def known_metrics() -> dict[str, Metric]:
    """Every metric of this package by its key; importing a module of the package is what registers its metrics."""
    package = importlib.import_module("attnorm.metrics")
    for module in pkgutil.iter_modules(package.__path__, "attnorm.metrics."):
        importlib.import_module(module.name)
    return dict(_METRICS)


def find_metrics(keys: Sequence[str]) -> list[Metric]:
    """The metrics of these keys, each once, in their order.

    Raises:
        UserError: a key that no metric has, or no key.
    """
    known = known_metrics()
    for key in keys:
        if key not in known:
            raise UserError(
                f"unknown metric {key!r}: choose from {', '.join(sorted(known))} (fd is called fid in its results"
                f" where the extractor is {INCEPTION})"
            )
    if not keys:
        raise UserError(f"no metric was named: choose from {', '.join(sorted(known))}")
    return [known[key] for key in dict.fromkeys(keys)]
