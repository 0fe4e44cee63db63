"""Measuring a generator against a picture set: what `attnorm evaluate` does once and training every so often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics.collecting import GENERATED, collect, float64_device
from attnorm.metrics.features import FeatureExtractor
from attnorm.metrics.inception_file import Progress
from attnorm.metrics.pictures import (
    LARGEST_COUNT,
    Draw,
    Pictures,
    class_pictures,
    dataset_pictures,
    drawn_labels,
    drawn_of_class,
    drawn_pictures,
)
from attnorm.metrics.reference import collect_reference
from attnorm.metrics.registry import Metric, MetricValue, Options, find_metrics

Frequencies = Literal["data", "uniform"]
PER_CLASS = 5000  # images that SN-GAN's code generates of each class for an intra-FID
CACHED_CLASSES = 100  # statistics of one class take 32 MB with Inception's features


class Evaluator:
    """A protocol: everything about an evaluation but the generator. Mistakes in it are found when it is made.

    Args:
        dataset: the real pictures.
        class_names: of the generator.
        metrics: keys such as "fd" and "kid"; the first one is what checkpoints are compared by.
        num: how many pictures to generate.
        num_real: how many real pictures to take at random, all if there are no more; None for all.
        frequencies: "data" draws each class as often as it occurs among the real pictures taken, "uniform" all alike.
        seed: of the generated pictures, the choice of real ones and the subsets that metrics draw.
        per_class: images to generate of each class for metrics that go class by class (intra), which compare them with
            all real images of the class.
        classes: indices of the classes for these metrics, None for all.
        cache: folder for statistics of the real pictures, None to keep none.
        device: where metrics that compute with all features do so.

    Raises:
        UserError: an unknown metric, too few images of a set or of a class, an extractor that lacks what a metric
            needs, or classes of the generator that are not those of the data where that matters.
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
        self.metrics, self.extractor = find_metrics(metrics), extractor
        self.num, self.seed, self.cache = num, seed, cache
        self.options = Options(seed, str(float64_device(device)), tuple(class_names))
        self.real = dataset_pictures(dataset, num_real, seed)
        _check_classes(self.metrics, dataset, class_names, frequencies)
        self._classes = self.real.labels if frequencies == "data" else np.arange(len(class_names))
        self._dataset, self.per_class = dataset, per_class
        self.classes = list(range(len(class_names))) if classes is None else list(classes)
        self._check_counts(num)
        if any(one.by_class for one in self.metrics):
            self._check_by_class()
        elif classes is not None:
            raise UserError("classes are chosen for intra alone: add intra to the metrics, or leave the classes out")
        for one in self.metrics:
            if one.probabilities and not extractor.has_probabilities:
                raise UserError(f"{one.key} needs class probabilities, which {extractor.name} has not: leave it out")

    def fake(self, draw: Draw) -> Pictures:
        """The pictures of a generator that are measured; the same for the same `draw`."""
        return drawn_pictures(draw, self._classes, self.num, self.seed)

    def measure(self, draw: Draw, progress: Progress | None = None) -> dict[str, MetricValue]:
        """The values of a generator, by the metrics' full names, in the order of the metrics.

        In a group of processes every one must call this, with a `draw` that gives the same pictures in all of them
        (buffers such as batch-norm moments included): each draws its share, and all return the same values.

        Args:
            draw: (labels, seed) -> pictures (b, h, w, 3) uint8, the same for the same arguments.
            progress: called with what is looked at, and how many of how many.

        Raises:
            UserError: features that are not finite.
        """
        whole = [one for one in self.metrics if not one.by_class]
        sets = self.real, self.fake(draw)
        values = evaluate(whole, self.extractor, *sets, self.options, self.cache, progress) if whole else {}
        named = {one.name_with(self.extractor, self.num): one for one in whole}
        by_key = {named[name].key: (name, value) for name, value in values.items()}
        if len(whole) < len(self.metrics):
            by_key |= self._measure_by_class(draw, progress)
        return dict(by_key[one.key] for one in self.metrics)

    def _measure_by_class(self, draw: Draw, progress: Progress | None) -> dict[str, tuple[str, MetricValue]]:
        """Name and value of each metric that goes class by class, by its key; memory holds one class's statistics."""
        metrics = [one for one in self.metrics if one.by_class]
        cache = self.cache if len(self.classes) <= CACHED_CLASSES else None
        found: dict[str, dict[str, float]] = {one.key: {} for one in metrics}
        real_count = 0
        for done, label in enumerate(self.classes, 1):
            real = class_pictures(self._dataset, label)
            fake = drawn_of_class(draw, label, self.per_class, self.seed)
            values = evaluate(metrics, self.extractor, real, fake, self.options, cache, progress)
            for one, value in zip(metrics, values.values(), strict=True):
                found[one.key][self.options.class_names[label]] = value.main
            real_count += real.count
            if progress is not None:
                progress("classes", done, len(self.classes))
        counts = real_count, self.per_class * len(self.classes)
        chosen = f"-{len(self.classes)}-classes" if len(self.classes) < len(self.options.class_names) else ""
        return {
            one.key: (
                one.name_with(self.extractor, self.per_class) + chosen,
                MetricValue(
                    {"mean": sum(found[one.key].values()) / len(self.classes)},
                    details={"per_class": self.per_class, "by_class": found[one.key]},
                    counts=counts,
                ),
            )
            for one in metrics
        }

    def _check_counts(self, num: int) -> None:
        """Whether the sets are large enough for the metrics that compare whole sets."""
        drawn_labels(self._classes, num, self.seed)
        for one in self.metrics:
            for count, kind in ((self.real.count, "real"), (num, "generated")):
                if count < one.fewest and not one.by_class and (kind == "generated" or one.compares):
                    raise UserError(f"{one.key} needs at least {one.fewest} {kind} pictures, got {count}: take more")

    def _check_by_class(self) -> None:
        """Whether every class asked for exists once and has enough real and generated images."""
        metric = next(one for one in self.metrics if one.by_class)
        names = self.options.class_names
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise UserError("the classes to measure must be one or more, each named once")
        unknown = [label for label in self.classes if not 0 <= label < len(names)]
        if unknown:
            raise UserError(f"there is no class {unknown[0]}: classes are numbered from 0 to {len(names) - 1}")
        if not metric.fewest <= self.per_class <= LARGEST_COUNT:
            raise UserError(
                f"{metric.key} needs {metric.fewest} to {LARGEST_COUNT} generated images per class,"
                f" got {self.per_class}"
            )
        counts = np.bincount(self._dataset.labels, minlength=len(names))[self.classes]
        if counts.min() < metric.fewest:
            rarest = names[self.classes[int(counts.argmin())]]
            raise UserError(
                f"class {rarest!r} has {counts.min()} real image(s), and {metric.key} needs at least {metric.fewest} of"
                f" each class: take more data, choose other classes, or leave {metric.key} out"
            )


def evaluate(
    metrics: Sequence[Metric],
    extractor: FeatureExtractor,
    real: Pictures,
    fake: Pictures,
    options: Options,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, MetricValue]:
    """Measures one set of pictures against another, each picture being looked at once; values by full names.

    Raises:
        UserError: as `collect` and the metrics.
    """
    probabilities = any(one.probabilities for one in metrics)
    reals = collect_reference({one.collector for one in metrics if one.compares}, extractor, real, cache, progress)
    fakes = {one.collector: one.collector() for one in metrics}
    collect(fakes.values(), extractor, fake, GENERATED, probabilities=probabilities, progress=progress)
    values = {}
    for one in metrics:
        sets = (reals[one.collector], fakes[one.collector]) if one.compares else (fakes[one.collector],)
        values[one.name_with(extractor, fake.count)] = one.compute(*sets, options)
    return values


def figures(values: Mapping[str, MetricValue]) -> dict[str, float]:
    """Plain numbers for a log: under a metric's name, or NAME.FIGURE where it has several."""
    flat = {}
    for name, value in values.items():
        for figure, number in value.values.items():
            flat[name if len(value.values) == 1 else f"{name}.{figure}"] = number
    return flat


def _check_classes(
    metrics: Sequence[Metric], dataset: ImageDataset, class_names: Sequence[str], frequencies: Frequencies
) -> None:
    if tuple(class_names) == dataset.class_names:
        return
    differ = f"the generator's {len(class_names)} classes are not the {dataset.num_classes} of the data"
    by_class = [one.key for one in metrics if one.by_class]
    if by_class:
        raise UserError(
            f"{differ}, which {by_class[0]} compares one by one: leave it out, or give data of the same classes"
        )
    if frequencies == "data":
        raise UserError(f"{differ}: give data of the same classes, or draw all classes alike (uniform)")
