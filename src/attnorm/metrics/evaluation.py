"""Measuring a generator against a data set: once in `attnorm evaluate`, repeatedly while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError, counted
from attnorm.metrics.base import Arrays, Metric, MetricValue
from attnorm.metrics.features import INCEPTION, FeatureExtractor
from attnorm.metrics.fid import FID, IntraFID
from attnorm.metrics.inception_score import InceptionScore
from attnorm.metrics.neighbours import KID, PrecisionRecall
from attnorm.metrics.reference import Reference
from attnorm.metrics.streaming import (
    DRAW_BLOCK,
    Draw,
    ImageSet,
    drawn_images,
    real_images,
    real_statistics,
    seed_of,
    stream,
)

# To add a metric: write a subclass of `Metric` in a file of its own and list it here.
METRICS: dict[str, Metric] = {one.key: one for one in (FID(), IntraFID(), InceptionScore(), KID(), PrecisionRecall())}
Frequencies = Literal["data", "uniform"]
PER_CLASS = 5000  # images that SN-GAN's code generates of each class for an intra-FID


def find_metrics(keys: Sequence[str]) -> list[Metric]:
    """The metrics of these keys, each once, in their order; raises a UserError for an unknown key."""
    for key in keys:
        if key not in METRICS:
            choices = f"choose from {', '.join(sorted(METRICS))} (with the extractor inception, fd is the FID)"
            raise UserError(f"unknown metric {key!r}: {choices}")
    return [METRICS[key] for key in dict.fromkeys(keys)]


@dataclass(frozen=True, eq=False)
class Evaluator:
    """A protocol: everything about an evaluation but the generator. Mistakes are reported when it is made.

    Args:
        dataset: the real images.
        class_names: of the generator.
        metrics: keys such as "fd" and "kid"; checkpoints are compared by the first one.
        num, num_real: how many images to generate, and how many real ones to take at random, None for all.
        frequencies: "data" draws each class as often as it occurs among the real images taken, "uniform" equally often.
        seed: of the generated images, the choice of real ones and the subsets that metrics draw.
        per_class: images to generate of each class for intra, which compares them with all real images of the class.
        classes: indices of the classes for intra, None for all.
        cache: folder for statistics of the real images, None to keep none.
        reference: statistics to compare with in the place of those of the real images.
        show_progress: whether to draw bars on a terminal.

    Raises:
        UserError: an unknown metric, too few images of a set or of a class, a reference without what a metric needs,
            or a generator whose classes are not those of the data where that matters.
    """

    dataset: ImageDataset
    class_names: Sequence[str]
    metrics: Sequence[str]
    extractor: FeatureExtractor
    num: int
    num_real: int | None = None
    frequencies: Frequencies = "data"
    seed: int = 0
    per_class: int = PER_CLASS
    classes: Sequence[int] | None = None
    cache: Path | None = None
    reference: Reference | None = None
    show_progress: bool = False

    def __post_init__(self) -> None:
        metrics, names = find_metrics(self.metrics), self.dataset.class_names
        if tuple(self.class_names) != names and (self.frequencies == "data" or any(one.by_class for one in metrics)):
            raise UserError(
                f"the generator's {counted(len(self.class_names), 'class')} are not the {len(names)} of the data:"
                " give data of its classes, or leave intra out and draw classes equally often (frequencies uniform)"
            )
        counts = np.bincount(self.dataset.labels, minlength=len(self.class_names)).tolist()
        for one in metrics:
            needed = {"generated images": self.per_class if one.by_class else self.num}
            if one.by_class:
                needed |= {f"real images of {self.class_names[label]!r}": counts[label] for label in self._classes}
            elif one.compares and self.reference is not None:
                if lacks := ", ".join(set(one.statistics.needs) - set(self.reference.arrays)):
                    raise UserError(f"{one.key} needs {lacks}, which {self.reference.name} lacks: leave {one.key} out")
            elif one.compares:
                needed["real images"] = self.real.count
            for what, count in needed.items():
                if count < one.fewest:
                    raise UserError(f"{one.key} needs at least {one.fewest} {what}, got {count}: take more")

    @property
    def _classes(self) -> Sequence[int]:
        return range(len(self.class_names)) if self.classes is None else list(dict.fromkeys(self.classes))

    @cached_property
    def real(self) -> ImageSet:
        """The real images that are measured as a whole."""
        return real_images(self.dataset, self.num_real, self.seed)

    def fake(self, draw: Draw) -> ImageSet:
        """The images of a generator that are measured as a whole; the same for the same `draw`."""
        classes = self.real.labels if self.frequencies == "data" else np.arange(len(self.class_names))
        return drawn_images(draw, classes, self.num, self.seed)

    def real_statistics(self) -> Arrays:
        """What metrics compare with that look at all images at once. All processes must call this together."""
        if self.reference is not None:
            return self.reference.arrays
        kinds = {one.statistics for one in find_metrics(self.metrics) if one.compares and not one.by_class}
        return real_statistics(kinds, self.extractor, self.real, self.cache, self.show_progress)

    def measure(self, draw: Draw) -> dict[str, MetricValue]:
        """The values of a generator by the metrics' full names, in the order of the metrics.

        In a group of processes all must call this, with a `draw` that gives the same images in each (buffers such as
        batch-norm moments included): they take turns, and all return the same values.

        Args:
            draw: (labels, seed) -> images (b, h, w, 3) uint8, the same for the same arguments.
        """
        metrics = find_metrics(self.metrics)
        whole = [one for one in metrics if not one.by_class]
        values = self._compare(whole, self.real_statistics(), self.fake(draw)) if whole else {}
        values |= {one.key: self._by_class(one, draw) for one in metrics if one.by_class}
        return {self._name(one): values[one.key] for one in metrics}

    def _name(self, metric: Metric) -> str:
        """The full name: fid-50k, fd-efficientnet-lite0-5k, intra-fid-5k-per-class-2-classes, fid-50k-vs-cifar10.

        Only the Inception network makes a Fréchet distance a FID. Statistics of others are named by their file.
        """
        stem = metric.standard if self.extractor.name == INCEPTION else f"{metric.stem}-{self.extractor.name}"
        num = self.per_class if metric.by_class else self.num
        name = f"{stem}-{num // 1000}k" if num % 1000 == 0 else f"{stem}-{num}"
        if metric.by_class:
            chosen = f"-{len(self._classes)}-classes" if len(self._classes) < len(self.class_names) else ""
            return f"{name}-per-class{chosen}"
        return f"{name}-vs-{self.reference.name}" if metric.compares and self.reference is not None else name

    def _by_class(self, metric: Metric, draw: Draw) -> MetricValue:
        """The mean over classes. One class goes after another, so that memory holds the statistics of one."""
        by_class, warnings, num_real = dict[str, float](), list[str](), 0
        for label in self._classes:
            name, real = self.class_names[label], real_images(self.dataset, label=label)
            # The same images whichever other classes are measured.
            fake = drawn_images(draw, np.full(DRAW_BLOCK, label), self.per_class, seed_of(self.seed, label))
            arrays = real_statistics([metric.statistics], self.extractor, real, self.cache, self.show_progress)
            value = self._compare([metric], arrays, fake)[metric.key]
            by_class[name], num_real = value.main, num_real + real.count
            warnings += [f"{name!r}: {value.warning}"] if value.warning else []
        details = {"per_class": self.per_class, "by_class": by_class}
        counts = num_real, self.per_class * len(by_class)
        mean = sum(by_class.values()) / len(by_class)
        return MetricValue({"mean": mean}, details=details, counts=counts, warning=next(iter(warnings), ""))

    def _compare(self, metrics: Sequence[Metric], real: Arrays, fake: ImageSet) -> dict[str, MetricValue]:
        """Compares the images of a generator with statistics; values by the metrics' keys. Each is processed once."""
        fakes = {one.statistics: one.statistics() for one in metrics}
        options = {"probabilities": any(one.probabilities for one in metrics), "show_progress": self.show_progress}
        stream(fakes.values(), self.extractor, fake, "generated images", **options)
        return {one.key: one.compute(real, fakes[one.statistics].compute(), self.seed) for one in metrics}


def flat_values(values: Mapping[str, MetricValue]) -> dict[str, float]:
    """Plain numbers for a log: under a metric's name, or NAME.VALUE where it has several."""
    return {
        name if len(value.values) == 1 else f"{name}.{part}": number
        for name, value in values.items()
        for part, number in value.values.items()
    }
