"""Measuring a generator against a picture set: what `attnorm evaluate` does once and training every so often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics.collecting import GENERATED, REAL, batches_to_share, collect, float64_device
from attnorm.metrics.features import FeatureExtractor
from attnorm.metrics.inception_file import Progress
from attnorm.metrics.pictures import Draw, Pictures, dataset_pictures, drawn_labels, drawn_pictures
from attnorm.metrics.reference import collect_reference
from attnorm.metrics.registry import Metric, MetricValue, Options, find_metrics

Frequencies = Literal["data", "uniform"]


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
        cache: folder for statistics of the real pictures, None to keep none.
        device: where metrics that compute with all features do so.

    Raises:
        UserError: an unknown metric, too few pictures of a set, of a class or for the processes of a group, an
            extractor that lacks what a metric needs, or classes of the generator that are not those of the data where
            that matters.
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
        cache: Path | None = None,
        device: str = "cpu",
    ) -> None:
        self.metrics, self.extractor = find_metrics(metrics), extractor
        self.num, self.seed, self.cache = num, seed, cache
        self.options = Options(seed, str(float64_device(device)), tuple(class_names))
        self.real = dataset_pictures(dataset, num_real, seed)
        _check_classes(self.metrics, dataset, class_names, frequencies)
        self._classes = self.real.labels if frequencies == "data" else np.arange(len(class_names))
        for labels, kind in ((self.real.labels, "real"), (drawn_labels(self._classes, num, seed), "generated")):
            _check_set(self.metrics, labels, kind, class_names)
        if any(one.compares for one in self.metrics):
            batches_to_share(self.real.count, REAL, extractor.batch_size)
        batches_to_share(num, GENERATED, extractor.batch_size)
        for one in self.metrics:
            if one.probabilities and not extractor.has_probabilities:
                raise UserError(f"{one.key} needs class probabilities, which {extractor.name} has not: leave it out")

    def fake(self, draw: Draw) -> Pictures:
        """The pictures of a generator that are measured; the same for the same `draw`."""
        return drawn_pictures(draw, self._classes, self.num, self.seed)

    def measure(self, draw: Draw, progress: Progress | None = None) -> dict[str, MetricValue]:
        """The values of a generator, by the metrics' full names.

        In a group of processes every one must call this, with a `draw` that gives the same pictures in all of them
        (buffers such as batch-norm moments included): each draws its share, and all return the same values.

        Args:
            draw: (labels, seed) -> pictures (b, h, w, 3) uint8, the same for the same arguments.
            progress: called with what is looked at, and how many of how many.

        Raises:
            UserError: features that are not finite.
        """
        fake = self.fake(draw)
        return evaluate(self.metrics, self.extractor, self.real, fake, self.options, self.cache, progress)


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
    by_class = [one.key for one in metrics if one.fewest_per_class]
    if by_class:
        raise UserError(
            f"{differ}, which {by_class[0]} compares one by one: leave it out, or give data of the same classes"
        )
    if frequencies == "data":
        raise UserError(f"{differ}: give data of the same classes, or draw all classes alike (uniform)")


def _check_set(metrics: Sequence[Metric], labels: np.ndarray, kind: str, class_names: Sequence[str]) -> None:
    for one in metrics:
        if kind == "real" and not one.compares:
            continue
        if len(labels) < one.fewest:
            raise UserError(f"{one.key} needs at least {one.fewest} {kind} pictures, got {len(labels)}: take more")
        if one.fewest_per_class:
            counts = np.bincount(labels, minlength=len(class_names))
            if counts.min() < one.fewest_per_class:
                rarest = class_names[int(counts.argmin())]
                raise UserError(
                    f"class {rarest!r} has {counts.min()} {kind} picture(s), and {one.key} needs"
                    f" at least {one.fewest_per_class} of each class: take more pictures, or leave {one.key} out"
                )
