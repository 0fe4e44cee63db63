"""Evaluation of a generator against a data set, in `attnorm evaluate` and during training."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError, counted
from attnorm.metrics.features import INCEPTION, FeatureExtractor
from attnorm.metrics.fid import METRICS, Metric
from attnorm.metrics.image_sets import DRAW_BLOCK, Draw, DrawnImages, RealImages, seed_of
from attnorm.metrics.records import MetricValue
from attnorm.metrics.statistics import EMPTY, Statistics, compute_statistics, real_statistics

PER_CLASS = 5000  # images per class for an intra-FID, as in SN-GAN's code


@dataclass(frozen=True, eq=False)
class Evaluator:
    """The protocol of an evaluation. It is checked when it is created, and can evaluate several generators.

    Args:
        dataset: the real images; None with `reference`.
        class_names: the generator's.
        metrics: keys such as "fd" and "kid". The first one compares checkpoints.
        num, num_real: how many images to generate, and how many real ones to choose at random; None for all.
        frequencies: "data" draws classes as often as they occur among the chosen real images, "uniform" equally often.
        seed: of generated images, the choice of real images, and random subsets of metrics.
        per_class: images to generate of each class for intra, which compares them with all real images of the class.
        classes: indices of the classes for intra, None for all.
        cache: folder for statistics of real images; None for no cache.
        reference: statistics to use instead of those of real images.
        show_progress: whether to show progress bars on a terminal.

    Raises:
        UserError: an unknown metric, too few images of a set or of a class, a reference that lacks what a metric needs,
            or, if classes matter, a generator with other classes than the data.
    """

    dataset: ImageDataset | None
    class_names: Sequence[str]
    metrics: Sequence[str]
    extractor: FeatureExtractor
    num: int
    num_real: int | None = None
    frequencies: Literal["data", "uniform"] = "data"
    seed: int = 0
    per_class: int = PER_CLASS
    classes: Sequence[int] | None = None
    cache: Path | None = None
    reference: Statistics | None = None
    show_progress: bool = False

    def __post_init__(self) -> None:
        if unknown := [key for key in self.metrics if key not in METRICS]:
            choices = f"choose from {', '.join(METRICS)} (with the extractor inception, fd is the FID)"
            raise UserError(f"unknown metric {unknown[0]!r}: {choices}")
        needs_classes = self.frequencies == "data" or any(one.by_class for one in self._metrics.values())
        if needs_classes and (self.dataset is None or tuple(self.class_names) != self.dataset.class_names):
            raise UserError(
                f"the real images are not of the generator's {counted(len(self.class_names), 'class')}: give images of"
                " these, or leave intra out and draw classes equally often (--frequencies uniform)"
            )
        for key, one in self._metrics.items():
            counts = {"generated images": self.per_class if one.by_class else self.num}
            if one.by_class:
                for label in self._classes:
                    counts[f"real images of {self.class_names[label]!r}"] = self._real_of_class(label).count
            elif self.reference and "feats" in one.needs and not len(self.reference.feats):
                raise UserError(f"{key} needs feats, which {self.reference.file} lacks: leave {key} out")
            elif one.compares:
                counts["real images"] = self.settings().get("num_real", one.fewest)
            for what, count in counts.items():
                if count < one.fewest:
                    raise UserError(f"{key} needs at least {one.fewest} {what}, got {count}: take more")

    @cached_property
    def _metrics(self) -> dict[str, Metric]:
        return {key: METRICS[key] for key in self.metrics}

    @property
    def _classes(self) -> Sequence[int]:
        return range(len(self.class_names)) if self.classes is None else list(dict.fromkeys(self.classes))

    @cached_property
    def real(self) -> RealImages:
        """The real images that are measured as a whole."""
        assert self.dataset is not None
        order = np.arange(len(self.dataset))
        if self.num_real is not None and self.num_real < len(order):
            order = np.sort(np.random.default_rng(self.seed).choice(len(order), self.num_real, replace=False))
        return RealImages(self.dataset, order, self.dataset.size)

    def _real_of_class(self, label: int) -> RealImages:
        assert self.dataset is not None
        return RealImages(self.dataset, np.flatnonzero(self.dataset.labels == label), self.dataset.size)

    def fake(self, draw: Draw | ImageDataset) -> DrawnImages | RealImages:
        """The images of a generator that are measured as a whole; the same for the same `draw`.

        Given images come in a random order, because some metrics split them and files are often sorted by class.
        """
        if isinstance(draw, ImageDataset):
            return RealImages(draw, np.random.default_rng(self.seed).permutation(len(draw)), draw.size)
        is_as_data = self.frequencies == "data"
        classes = self.real.dataset.labels[self.real.items] if is_as_data else np.arange(len(self.class_names))
        return DrawnImages(draw, classes, self.num, self.seed)

    def settings(self) -> dict[str, Any]:
        """What values depend on besides the images and the seed, for their record."""
        count = self.real.count if self.reference is None else self.reference.count
        settings = {"frequencies": self.frequencies} | ({} if count is None else {"num_real": count})
        name, resizer, fingerprint = self.extractor.name, self.extractor.resizer, self.extractor.fingerprint
        return settings | {"extractor": name, "resizer": resizer, "extractor_fingerprint": fingerprint}

    def real_statistics(self) -> Statistics:
        """What metrics compare with that look at all images at once. All processes must call this together."""
        if self.reference is not None:
            return self.reference
        needs = {need for one in self._metrics.values() if one.compares for need in one.needs}
        return real_statistics(self.real, self.extractor, needs, self.cache, self.show_progress)

    def measure(self, draw: Draw | ImageDataset) -> dict[str, MetricValue]:
        """The values of a generator by the metrics' full names, in the order of the metrics.

        In a group of processes all must call this, with a `draw` that gives the same images in each (buffers such as
        batch-norm moments included): they take turns, and all return the same values.

        Args:
            draw: (labels, seed) -> images (b, h, w, 3) uint8, the same for the same arguments; or generated images.
        """
        whole = [one for one in self._metrics.values() if not one.by_class]
        if isinstance(draw, ImageDataset) and (self.num != len(draw) or len(whole) < len(self._metrics)):
            raise UserError(f"images in the place of a generator need num={len(draw)}, all of them, and no intra")
        real = self.real_statistics() if any(one.compares for one in whole) else EMPTY
        needs = {need for one in whole for need in one.needs}
        fake = self._statistics(self.fake(draw), needs) if whole else EMPTY
        return {
            self._name(one): self._by_class(one, draw) if one.by_class else one.compute(real, fake, self.seed)
            for one in self._metrics.values()
        }

    def _by_class(self, metric: Metric, draw: Any) -> MetricValue:
        """The mean over classes. One class goes after another, so that memory holds the statistics of one."""
        by_class, warnings, num_real = dict[str, float](), list[str](), 0
        for label in self._classes:
            name, images = self.class_names[label], self._real_of_class(label)
            real = real_statistics(images, self.extractor, metric.needs, self.cache, self.show_progress)
            # The same images whichever other classes are measured.
            drawn = DrawnImages(draw, np.full(DRAW_BLOCK, label), self.per_class, seed_of(self.seed, label))
            value = metric.compute(real, self._statistics(drawn, metric.needs), self.seed)
            by_class[name], num_real = value.main, num_real + images.count
            warnings += [f"{name!r}: {value.warning}"] if value.warning else []
        return MetricValue(
            {"mean": sum(by_class.values()) / len(by_class)},
            details={"per_class": self.per_class, "by_class": by_class},
            num=self.per_class * len(by_class),
            settings={"num_real": num_real, "frequencies": "uniform"},
            warning=next(iter(warnings), ""),
        )

    def _statistics(self, images: DrawnImages | RealImages, needs: Collection[str]) -> Statistics:
        return compute_statistics(images, self.extractor, "generated images", needs, self.show_progress)

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
        file = self.reference.file if self.reference is not None and metric.compares else None
        return f"{name}-vs-{file.stem}" if file is not None else name


def flat_values(values: Mapping[str, MetricValue]) -> dict[str, float]:
    """Plain numbers for a log: under a metric's name, or NAME.VALUE where it has several."""
    return {
        name if len(value.values) == 1 else f"{name}.{part}": number
        for name, value in values.items()
        for part, number in value.values.items()
    }
