"""The layers; torch is all they need."""

from attnorm.layers.attentive_norm import AttentiveNorm2d, orthogonal_loss
from attnorm.layers.conditional_norm import ConditionalBatchNorm2d
from attnorm.layers.contextual_attention import ContextualAttention2d
from attnorm.layers.regional_norm import backend_for, backend_refusals, regional_norm
from attnorm.layers.self_attention import SelfAttention2d
from attnorm.layers.spectral import spectral_norm

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
