"""Measuring the generator while it trains, as `attnorm evaluate` would measure the model that it saves."""

from __future__ import annotations

from pydantic import Field

from attnorm.cache import cache_folder
from attnorm.config import Frozen
from attnorm.data.dataset import ImageDataset
from attnorm.metrics.evaluation import Evaluator, flat_values
from attnorm.metrics.features import EFFICIENTNET, load_extractor
from attnorm.models.class_conditional import Generator
from attnorm.pipelines.class_conditional import ClassConditionalPipeline
from attnorm.training.config import Evaluation


class EvaluationConfig(Frozen):
    """How a generator is measured every `evaluate_every` steps.

    metrics: as `attnorm evaluate` takes them; the first one chooses the best model.
    num, num_real: images to generate, and real ones to compare with; 0 for all real ones.
    """

    metrics: tuple[str, ...] = Field(("fd",), min_length=1)
    extractor: str = EFFICIENTNET
    num: int = Field(5000, ge=1, le=10_000_000)
    num_real: int = Field(5000, ge=0)


class GeneratorEvaluation:
    """The protocol of one run; its mistakes are found here, before any training."""

    def __init__(self, config: EvaluationConfig, dataset: ImageDataset, names: tuple[str, ...], device: str) -> None:
        self._evaluator = Evaluator(
            dataset,
            names,
            metrics=config.metrics,
            extractor=load_extractor(config.extractor, device),
            num=config.num,
            num_real=config.num_real or None,
            per_class=max(2, config.num // len(names)),
            cache=cache_folder() / "reference",
        )

    def measure(self, generator: Generator) -> Evaluation:
        """The metrics of a generator in eval mode, and as score the main one, turned so that lower is better."""
        pipe = ClassConditionalPipeline(generator)
        values = self._evaluator.measure(lambda labels, seed: pipe.draw(labels, seed=seed).images)
        first = next(iter(values.values()))
        return Evaluation(flat_values(values), first.main if first.better == "lower" else -first.main)
