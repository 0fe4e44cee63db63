"""Attentive Normalization: a layer that learns a soft layout of a feature map and normalizes each region separately.

The layer needs torch alone. Names are imported on first use, so that the command line starts quickly and can set
environment variables that PyTorch reads when it is imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnorm.layers import AttentiveNorm2d as AttentiveNorm2d
    from attnorm.layers import SelfAttention2d as SelfAttention2d
    from attnorm.layers import orthogonal_loss as orthogonal_loss
    from attnorm.layers import regional_norm as regional_norm
    from attnorm.pipelines import ClassConditionalPipeline as ClassConditionalPipeline
    from attnorm.pipelines import InpaintingPipeline as InpaintingPipeline

__version__ = "0.2.0"

_HOMES = {
    "AttentiveNorm2d": "attnorm.layers",
    "SelfAttention2d": "attnorm.layers",
    "orthogonal_loss": "attnorm.layers",
    "regional_norm": "attnorm.layers",
    "ClassConditionalPipeline": "attnorm.pipelines",
    "InpaintingPipeline": "attnorm.pipelines",
}
# A star import gets the names that need torch alone; the pipelines need the extra `train`.
__all__ = ["__version__", *(name for name, home in _HOMES.items() if home == "attnorm.layers")]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'attnorm' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # so that this function is not called again
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
