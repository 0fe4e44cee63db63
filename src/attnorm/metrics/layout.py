"""Statistics of layouts: how they use their entities, and the features inside each region (paper, Fig. 4).

Usage fails at both ends. Sharpness near 1/n: every pixel belongs to all entities equally, and the layer is an expensive
instance norm. Effective entities near 1: one entity has taken all pixels.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attnorm.layers import AttentiveNorm2d


class LayoutUsage(NamedTuple):
    """sharpness: mean over pixels of the largest weight, in [1/n, 1].
    effective_entities: exp(entropy of the layout averaged over pixels and images), in [1, n].
    """

    sharpness: float
    effective_entities: float


def layout_usage(layout: Tensor) -> LayoutUsage:
    """Sharpness and effective entities of a layout (b, n, h, w) that sums to 1 over n."""
    layout = layout.detach().cpu().double()  # not every device has float64
    mean = layout.mean((0, 2, 3))
    return LayoutUsage(layout.amax(1).mean().item(), (-torch.xlogy(mean, mean).sum()).exp().item())


def usage(model: str, layouts: dict[str, Tensor]) -> dict[str, float]:
    """Both statistics of each layout of `record_layouts`, under MODEL.LAYER.STATISTIC."""
    found: dict[str, float] = {}
    for layer, layout in layouts.items():
        found |= {f"{model}.{layer}.{name}": value for name, value in layout_usage(layout)._asdict().items()}
    return found


class RegionStatistics(NamedTuple):
    """The features inside each region, a pixel counting for the entity with its largest weight, and of the whole map.

    share: of all pixels, (n,), sums to 1. mean, std: (n,), NaN for a region without pixels. map_mean, map_std: numbers.
    within: the share of the map's variance that is left inside the regions, 0 where each is constant.
    """

    share: Tensor
    mean: Tensor
    std: Tensor
    map_mean: float
    map_std: float
    within: float

    def rows(self) -> list[list[Any]]:
        """Name, share, mean and std of the whole map and of each region; None where a region has no pixels."""
        regions = zip(self.share.tolist(), self.mean.tolist(), self.std.tolist(), strict=True)
        rows = [[entity, *(None if math.isnan(x) else x for x in row)] for entity, row in enumerate(regions)]
        return [["whole map", 1.0, self.map_mean, self.map_std], *rows]


def region_statistics(value: Tensor, layout: Tensor) -> RegionStatistics:
    """Of features value (b, c, h, w), which the layer normalizes, and layout (b, n, h, w); in float64 on the CPU.

    Moments are taken as the layer takes them, for each image and channel, and then averaged by the number of pixels.
    """
    value, layout = (t.detach().cpu().double().flatten(2) for t in (value, layout))
    winners = F.one_hot(layout.argmax(1), layout.shape[1]).double()  # (b, p, n)
    weights = torch.cat([winners, torch.ones_like(winners[:, :, :1])], dim=2)  # the last region is the whole map
    mass = weights.sum(1)
    divisor = mass.clamp_min(torch.finfo(mass.dtype).tiny)[:, None]
    centre = value.mean(2, keepdim=True)  # subtracted, so that the variance survives a large mean
    centred = value - centre
    mean = centred @ weights / divisor  # (b, c, n + 1)
    variance = (centred.square() @ weights / divisor - mean.square()).clamp_min(0)
    per_image = torch.stack([torch.ones_like(mass), (mean + centre).mean(1), variance.mean(1)])
    sums = (mass * per_image).sum(1)  # (3, n + 1): pixels, and their mean and variance times these
    (pixels, mean, variance), (total, map_mean, map_variance) = sums[:, :-1], sums[:, -1].tolist()
    return RegionStatistics(
        share=pixels / total,
        mean=mean / pixels,
        std=(variance / pixels).sqrt(),
        map_mean=map_mean / total,
        map_std=math.sqrt(map_variance / total),
        within=variance.sum().item() / map_variance if map_variance else math.nan,
    )


def most_varying_entity(layouts: np.ndarray) -> int:
    """The entity whose map varies most in all rows; layouts (rows, frames, n, h, w).

    The score is the geometric mean of the rows' standard deviations: a row that is flat for all entities has no effect.
    """
    deviations = layouts.std((1, 3, 4), dtype=np.float64)
    return int(np.log(deviations + 1e-6).mean(0).argmax())


@contextmanager
def record_layouts(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Inside this context every AttentiveNorm2d of `model` records its layout (b, n, h, w) under its name.

    Use it in eval mode, where the layout is a deterministic function of the features.
    """
    layouts: dict[str, Tensor] = {}
    with _observed(model, lambda name, layer, x: layouts.update({name: layer.layout(x)})):
        yield layouts


@contextmanager
def record_regions(model: nn.Module) -> Iterator[dict[str, RegionStatistics]]:
    """After this context, each AttentiveNorm2d's statistics over all its calls, by its name; use eval mode."""
    calls: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    regions: dict[str, RegionStatistics] = {}
    with _observed(model, lambda name, layer, x: calls[name].append((layer.value(x), layer.layout(x)))):
        yield regions
    for name, pairs in calls.items():
        regions[name] = region_statistics(*map(torch.cat, zip(*pairs, strict=True)))


@contextmanager
def _observed(model: nn.Module, observe: Callable[[str, AttentiveNorm2d, Tensor], None]) -> Iterator[None]:
    """Inside this context every call of an AttentiveNorm2d calls `observe(name, layer, input)`, without gradients."""

    def hook(name: str, layer: Any, args: tuple[Tensor, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        with torch.no_grad():
            observe(name, layer, args[0] if args else kwargs["x"])

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if isinstance(module, AttentiveNorm2d):
                hooks.enter_context(module.register_forward_hook(partial(hook, name), with_kwargs=True))
        yield
