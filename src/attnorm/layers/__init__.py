"""The layers. They need torch alone."""

from attnorm.layers.attention import ContextualAttention2d, SelfAttention2d
from attnorm.layers.attentive_norm import AttentiveNorm2d, orthogonal_loss
from attnorm.layers.regional_norm import backend_for, backend_refusals, regional_norm
from attnorm.layers.residual import ConditionalBatchNorm2d
from attnorm.layers.weights import with_spectral_norm as spectral_norm

__all__ = [
    "AttentiveNorm2d",
    "ConditionalBatchNorm2d",
    "ContextualAttention2d",
    "SelfAttention2d",
    "backend_for",
    "backend_refusals",
    "orthogonal_loss",
    "regional_norm",
    "spectral_norm",
]
