"""Metrics by name. To add one: write a subclass of `Metric` in a file of its own and list it in METRICS."""

from __future__ import annotations

from collections.abc import Sequence

from attnorm.errors import UserError
from attnorm.metrics.base import Metric
from attnorm.metrics.fid import FID, IntraFID
from attnorm.metrics.inception_score import InceptionScore
from attnorm.metrics.kid import KID
from attnorm.metrics.precision_recall import PrecisionRecall

METRICS: tuple[Metric, ...] = (FID(), IntraFID(), InceptionScore(), KID(), PrecisionRecall())


def known_metrics() -> dict[str, Metric]:
    """Every metric by its key."""
    return {metric.key: metric for metric in METRICS}


def find_metrics(keys: Sequence[str]) -> list[Metric]:
    """The metrics of these keys, each once, in their order.

    Raises:
        UserError: an unknown key, or no key.
    """
    known = known_metrics()
    choices = f"choose from {', '.join(sorted(known))}"
    if not keys:
        raise UserError(f"no metric was named: {choices}")
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise UserError(f"unknown metric {unknown[0]!r}: {choices} (with the extractor inception, fd is the FID)")
    return [known[key] for key in dict.fromkeys(keys)]
