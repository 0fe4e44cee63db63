"""Measuring the generator while it trains, as `attnorm evaluate` would measure the model that it saves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attnorm.cache import cache_folder
from attnorm.config import require_count
from attnorm.data.dataset import ImageDataset
from attnorm.metrics.evaluation import Evaluator, flat_values
from attnorm.metrics.features import EFFICIENTNET, load_extractor
from attnorm.metrics.images import LARGEST_COUNT
from attnorm.models.class_conditional import Generator
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.training.config import Evaluation


@dataclass(frozen=True)
class EvaluationConfig:
    """How a generator is measured every `evaluate_every` steps.

    metrics: as `attnorm evaluate` takes them; the first one chooses the best model.
    num, num_real: pictures to generate, and real ones to compare with; 0 for all real ones.
    """

    metrics: tuple[str, ...] = ("fd",)
    extractor: str = EFFICIENTNET
    num: int = 5000
    num_real: int = 5000

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ValueError("evaluation.metrics must name at least one metric")
        require_count("evaluation.num", self.num, LARGEST_COUNT)
        if self.num_real < 0:
            raise ValueError(f"evaluation.num_real must be at least 0, got {self.num_real}")


class GeneratorEvaluation:
    """The protocol of one run; mistakes in it are found when it is made, before any training."""

    def __init__(
        self, config: EvaluationConfig, dataset: ImageDataset, class_names: tuple[str, ...], device: str
    ) -> None:
        self._evaluator = Evaluator(
            dataset,
            class_names,
            metrics=config.metrics,
            extractor=load_extractor(config.extractor, device),
            num=config.num,
            num_real=config.num_real or None,
            per_class=max(2, config.num // len(class_names)),
            cache=cache_folder() / "reference",
            device=device,
        )

    def measure(self, generator: Generator) -> Evaluation:
        """The figures of a generator in eval mode, and as score the main one, turned so that lower is better."""
        pipe = ClassConditionalPipeline(generator)

        def draw(labels: list[int], seed: int) -> np.ndarray:
            return pipe.draw(labels, seed=seed).pictures

        values = self._evaluator.measure(draw)
        first = next(iter(values.values()))
        return Evaluation(flat_values(values), first.main if first.better == "lower" else -first.main)
