"""Moments of features inside each region of a layout, against the whole map (paper, Fig. 4).

The features are those that the layer normalises, value(x). A region's moments are taken as the layer takes them, for
each image and channel, and then averaged: the mean of all its features, and the root of the mean variance. Regions are
read in two ways: "weighted", each pixel as much as the layout says (eq. 5), and "argmax", each pixel wholly to the
entity with its largest weight, as drawings of layouts show them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnorm.layers import AttentiveNorm2d
from attnorm.metrics.layout import observed_layers

COLUMNS = ("share", "mean", "std")  # of a table, for each way to read the regions


class RegionStatistics(NamedTuple):
    """share: of all pixels, (n,), sums to 1. mean, std: (n,), NaN for a region without pixels.
    within: the mean over pixels of the variance inside their region, as a share of the whole map's, from 0 (each region
        is constant) to 1 (regions vary as much as the map); NaN for a constant map.
    """

    share: Tensor
    mean: Tensor
    std: Tensor
    within: float


class RegionSummary(NamedTuple):
    """weighted, argmax: the regions read in the two ways. mean, std: of the whole map."""

    weighted: RegionStatistics
    argmax: RegionStatistics
    mean: float
    std: float


class RegionMoments:
    """Sums over batches, in float64 on the CPU, with memory of O(n)."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []  # of the weighted regions, the argmax regions, the whole map

    def update(self, value: Tensor, layout: Tensor) -> None:
        """value (b, c, h, w), layout (b, n, h, w), which sums to 1 over n."""
        value, layout = (t.detach().cpu().double().flatten(2) for t in (value, layout))
        winners = F.one_hot(layout.argmax(1), layout.shape[1]).transpose(1, 2).double()
        sums = [_sums(value, weights) for weights in (layout, winners, torch.ones_like(layout[:, :1]))]
        self._sums = [old + new for old, new in zip(self._sums, sums, strict=True)] if self._sums else sums

    def summary(self) -> RegionSummary:
        """Raises a ValueError before the first update."""
        if not self._sums:
            raise ValueError("no features have been seen")
        weighted, argmax, whole = self._sums
        mass, mean, variance = whole[:, 0].tolist()
        ways = _statistics(weighted, whole), _statistics(argmax, whole)
        return RegionSummary(*ways, mean / mass, math.sqrt(variance / mass))


def region_table(summary: RegionSummary) -> tuple[list[str], list[list[Any]]]:
    """Names of columns, and a row for the whole map and for each region; None where a region has no pixels."""
    ways = {"argmax": summary.argmax, "weighted": summary.weighted}
    names = ["region", *(f"{column}_{way}" for way in ways for column in COLUMNS)]
    values = torch.stack([getattr(each, column) for each in ways.values() for column in COLUMNS], dim=1).tolist()
    rows: list[list[Any]] = [["whole map", *[1.0, summary.mean, summary.std] * len(ways)]]
    rows += [[entity, *(None if math.isnan(one) else one for one in row)] for entity, row in enumerate(values)]
    return names, rows


@contextmanager
def record_regions(model: nn.Module) -> Iterator[dict[str, RegionMoments]]:
    """Inside this context every AttentiveNorm2d of `model` sums its regions' moments under its name; use eval mode."""
    found: dict[str, RegionMoments] = {}

    def record(name: str, layer: AttentiveNorm2d, x: Tensor) -> None:
        found.setdefault(name, RegionMoments()).update(layer.value(x), layer.layout(x))

    with observed_layers(model, record):
        yield found


def _sums(value: Tensor, weights: Tensor) -> Tensor:
    """(3, n) of features (b, c, p) with weights (b, n, p): the mass of each region, and its mean and variance, averaged
    over channels, times its mass.
    """
    mass = weights.sum(2)
    divisor = mass.clamp_min(torch.finfo(mass.dtype).tiny)[:, None]
    centre = value.mean(2, keepdim=True)  # subtracted, so that the variance survives a large mean
    centred = value - centre
    mean = centred @ weights.transpose(1, 2) / divisor  # (b, c, n)
    variance = (centred.square() @ weights.transpose(1, 2) / divisor - mean.square()).clamp_min(0)
    per_image = torch.stack([torch.ones_like(mass), (mean + centre).mean(1), variance.mean(1)])
    return (mass * per_image).sum(1)


def _statistics(sums: Tensor, whole: Tensor) -> RegionStatistics:
    mass, mean, variance = sums
    within = (variance.sum() / whole[2].sum()).item()
    return RegionStatistics(mass / mass.sum(), mean / mass, (variance / mass).sqrt(), within)
