"""Statistics that tell whether a learned layout is one; both ends of their ranges are failures.

Sharpness near 1/n: every pixel belongs to every entity equally, each region is the whole map, and the layer is an
instance normalisation with extra steps. Effective entities near 1: one entity has taken all pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from attnorm.layers import AttentiveNorm2d

ROUNDING = 1e-6  # standard deviation of weights that do not vary


class LayoutUsage(NamedTuple):
    """sharpness: mean over pixels of the largest weight, in [1/n, 1].
    effective_entities: exp(entropy of the layout averaged over pixels and images), in [1, n].
    """

    sharpness: float
    effective_entities: float


def layout_usage(layout: Tensor) -> LayoutUsage:
    """Sharpness and effective entities of a layout (b, n, h, w) that sums to 1 over n."""
    layout = layout.detach().double()
    mean = layout.mean((0, 2, 3))
    entropy = -(mean * mean.clamp_min(1e-300).log()).sum()
    return LayoutUsage(layout.amax(1).mean().item(), entropy.exp().item())


def usage_figures(model: str, layouts: dict[str, Tensor]) -> dict[str, float]:
    """Both statistics of each layout of `record_layouts`, under MODEL.LAYER.STATISTIC."""
    return {
        f"{model}.{layer}.{name}": value
        for layer, layout in layouts.items()
        for name, value in layout_usage(layout)._asdict().items()
    }


def most_varying_entity(layouts: np.ndarray) -> int:
    """The entity whose map varies most in all rows; layouts (rows, frames, n, h, w).

    The score is the geometric mean of the rows' standard deviations: a row that is flat for all entities has no effect.
    """
    deviations = layouts.std((1, 3, 4), dtype=np.float64)
    return int(np.log(deviations + ROUNDING).mean(0).argmax())


@contextmanager
def record_layouts(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Inside this context every AttentiveNorm2d of `model` records its layout (b, n, h, w) under its name.

    Use it in eval mode, where the layout is a deterministic function of the features.
    """
    found: dict[str, Tensor] = {}

    def record(name: str, layer: AttentiveNorm2d, x: Tensor) -> None:
        found[name] = layer.layout(x)

    with observed_layers(model, record):
        yield found


@contextmanager
def observed_layers(model: nn.Module, observe: Callable[[str, AttentiveNorm2d, Tensor], None]) -> Iterator[None]:
    """Inside this context every call of an AttentiveNorm2d calls `observe(name, layer, input)`, without gradients."""

    def hook_of(name: str) -> Any:
        def hook(layer: AttentiveNorm2d, args: tuple[Tensor, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            with torch.no_grad():
                observe(name, layer, args[0] if args else kwargs["x"])

        return hook

    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, AttentiveNorm2d)]
    handles = [module.register_forward_hook(hook_of(name), with_kwargs=True) for name, module in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
