"""Measuring a generator against a data set: once in `attnorm evaluate`, repeatedly while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics.base import Metric, MetricValue, Options
from attnorm.metrics.features import FeatureExtractor, Progress
from attnorm.metrics.fid import float64_device
from attnorm.metrics.images import (
    LARGEST_COUNT,
    Draw,
    ImageSet,
    drawn_images,
    drawn_images_of_class,
    drawn_labels,
    real_images,
    real_images_of_class,
)
from attnorm.metrics.registry import find_metrics
from attnorm.metrics.streaming import GENERATED, real_statistics, stream

Frequencies = Literal["data", "uniform"]
PER_CLASS = 5000  # images that SN-GAN's code generates of each class for an intra-FID
CACHED_CLASSES = 100  # most classes whose statistics are cached: one takes 32 MB with Inception's features


class Evaluator:
    """A protocol: everything about an evaluation but the generator. Mistakes are reported when it is made.

    Args:
        dataset: the real images.
        class_names: of the generator.
        metrics: keys such as "fd" and "kid"; checkpoints are compared by the first one.
        num: how many images to generate.
        num_real: how many real images to take at random, None for all.
        frequencies: "data" draws each class as often as it occurs among the real images taken, "uniform" equally often.
        seed: of the generated images, the choice of real ones and the subsets that metrics draw.
        per_class: images to generate of each class for metrics that go class by class (intra), which compare them with
            all real images of the class.
        classes: indices of the classes for these metrics, None for all.
        cache: folder for statistics of the real images, None to keep none.
        device: where metrics that keep all features compute.

    Raises:
        UserError: an unknown metric, too few images of a set or of a class, an extractor that lacks what a metric
            needs, or a generator whose classes are not those of the data where that matters.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        class_names: Sequence[str],
        *,
        metrics: Sequence[str],
        extractor: FeatureExtractor,
        num: int,
        num_real: int | None = None,
        frequencies: Frequencies = "data",
        seed: int = 0,
        per_class: int = PER_CLASS,
        classes: Sequence[int] | None = None,
        cache: Path | None = None,
        device: str = "cpu",
    ) -> None:
        found = find_metrics(metrics)
        self._order = [one.key for one in found]
        self._whole = [one for one in found if not one.by_class]
        self._by_class = [one for one in found if one.by_class]
        self.extractor, self.num, self.seed, self.cache = extractor, num, seed, cache
        self.per_class, self.class_names, self._dataset = per_class, tuple(class_names), dataset
        self.classes = range(len(class_names)) if classes is None else list(dict.fromkeys(classes))
        self.options = Options(seed, str(float64_device(device)))
        self.real = real_images(dataset, num_real, seed)
        self._labels = self.real.labels if frequencies == "data" else np.arange(len(class_names))
        for one in found:
            if one.probabilities and not extractor.has_probabilities:
                raise UserError(f"{one.key} needs class probabilities, which {extractor.name} lacks: leave it out")
        if self.class_names != dataset.class_names and (self._by_class or frequencies == "data"):
            raise UserError(
                f"the generator's {len(class_names)} classes are not the {dataset.num_classes} of the data: give data"
                " of the same classes, or leave intra out and draw all classes equally often (uniform)"
            )
        drawn_labels(self._labels, num, seed)  # a UserError if `num` is out of range
        for one in self._whole:
            for count, kind in ((self.real.count, "real"), (num, "generated")):
                if count < one.fewest and (kind == "generated" or one.compares):
                    raise UserError(f"{one.key} needs at least {one.fewest} {kind} images, got {count}: take more")
        if self._by_class:
            self._check_classes(self._by_class[0])
        elif classes is not None:
            raise UserError("classes are chosen for intra alone: add intra to the metrics, or leave the classes out")

    def _check_classes(self, metric: Metric) -> None:
        unknown = [label for label in self.classes if not 0 <= label < len(self.class_names)]
        if unknown or not self.classes:
            raise UserError(f"classes must be numbers from 0 to {len(self.class_names) - 1}, got {self.classes}")
        if not metric.fewest <= self.per_class <= LARGEST_COUNT:
            limits = f"{metric.fewest} to {LARGEST_COUNT}"
            raise UserError(f"{metric.key} needs {limits} generated images per class, got {self.per_class}")
        counts = np.bincount(self._dataset.labels, minlength=len(self.class_names))
        rarest = min(self.classes, key=lambda label: counts[label])
        if counts[rarest] < metric.fewest:
            raise UserError(
                f"class {self.class_names[rarest]!r} has {counts[rarest]} real image(s), and {metric.key} needs at"
                f" least {metric.fewest} of each class: take more data, other classes, or leave {metric.key} out"
            )

    def fake(self, draw: Draw) -> ImageSet:
        """The images of a generator that are measured as a whole; the same for the same `draw`."""
        return drawn_images(draw, self._labels, self.num, self.seed)

    def measure(self, draw: Draw, progress: Progress | None = None) -> dict[str, MetricValue]:
        """The values of a generator by the metrics' full names, in the order of the metrics.

        In a group of processes all must call this, with a `draw` that gives the same images in each (buffers such as
        batch-norm moments included): each draws its share, and all return the same values.

        Args:
            draw: (labels, seed) -> images (b, h, w, 3) uint8, the same for the same arguments.
            progress: called with what is being processed, how much is done, and how much there is.

        Raises:
            UserError: features that are not finite.
        """
        values = compute_metrics(
            self._whole, self.extractor, self.real, self.fake(draw), self.options, self.cache, progress
        )
        names = {one.key: one.name_with(self.extractor, self.num) for one in self._whole}
        if self._by_class:
            values |= self._measure_classes(draw, progress)
            chosen = f"-{len(self.classes)}-classes" if len(self.classes) < len(self.class_names) else ""
            names |= {one.key: one.name_with(self.extractor, self.per_class) + chosen for one in self._by_class}
        return {names[key]: values[key] for key in self._order}

    def _measure_classes(self, draw: Draw, progress: Progress | None) -> dict[str, MetricValue]:
        """Goes class by class, so that memory holds the statistics of one class, and takes the mean."""
        cache = self.cache if len(self.classes) <= CACHED_CLASSES else None
        by_class: dict[str, dict[str, float]] = {one.key: {} for one in self._by_class}
        num_real = 0
        for done, label in enumerate(self.classes, 1):
            real = real_images_of_class(self._dataset, label)
            fake = drawn_images_of_class(draw, label, self.per_class, self.seed)
            values = compute_metrics(self._by_class, self.extractor, real, fake, self.options, cache, progress)
            for key, value in values.items():
                by_class[key][self.class_names[label]] = value.main
            num_real += real.count
            if progress is not None:
                progress("classes", done, len(self.classes))
        return {
            key: MetricValue(
                {"mean": sum(found.values()) / len(found)},
                details={"per_class": self.per_class, "by_class": found},
                counts=(num_real, self.per_class * len(found)),
            )
            for key, found in by_class.items()
        }


def compute_metrics(
    metrics: Sequence[Metric],
    extractor: FeatureExtractor,
    real: ImageSet,
    fake: ImageSet,
    options: Options,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, MetricValue]:
    """Compares one set of images with another; values by the metrics' keys. Each image is processed once.

    Raises:
        UserError: features that are not finite.
    """
    if not metrics:
        return {}
    reals = real_statistics({one.statistics for one in metrics if one.compares}, extractor, real, cache, progress)
    fakes = {one.statistics: one.statistics() for one in metrics}
    probabilities = any(one.probabilities for one in metrics)
    stream(fakes.values(), extractor, fake, GENERATED, probabilities=probabilities, progress=progress)
    return {one.key: one.compute(reals.get(one.statistics), fakes[one.statistics], options) for one in metrics}


def flat_values(values: Mapping[str, MetricValue]) -> dict[str, float]:
    """Plain numbers for a log: under a metric's name, or NAME.VALUE where it has several."""
    return {
        name if len(value.values) == 1 else f"{name}.{part}": number
        for name, value in values.items()
        for part, number in value.values.items()
    }
