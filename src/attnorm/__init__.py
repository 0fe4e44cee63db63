"""Attentive Normalization: a layer that learns a soft layout of a feature map and normalises each region on its own.

`import attnorm` needs torch alone; the pipelines are imported when they are first asked for.
"""

from typing import TYPE_CHECKING, Any

from attnorm.layers import AttentiveNorm2d, SelfAttention2d, SemanticLayout, orthogonal_loss, regional_norm

if TYPE_CHECKING:
    from attnorm.inpainting_pipeline import InpaintingPipeline as InpaintingPipeline
    from attnorm.pipelines import ClassConditionalPipeline as ClassConditionalPipeline

__version__ = "0.1.0"
__all__ = [
    "AttentiveNorm2d",
    "SelfAttention2d",
    "SemanticLayout",
    "__version__",
    "orthogonal_loss",
    "regional_norm",
]


def __getattr__(name: str) -> Any:
    if name == "ClassConditionalPipeline":
        from attnorm import pipelines

        return pipelines.ClassConditionalPipeline
    if name == "InpaintingPipeline":
        from attnorm import inpainting_pipeline

        return inpainting_pipeline.InpaintingPipeline
    raise AttributeError(f"module 'attnorm' has no attribute {name!r}")
