"""The settings of attentive normalization inside a network, the same in every network that has it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from attnorm.config import Frozen
from attnorm.layers import AttentiveNorm2d


class AttentiveNormConfig(Frozen):
    """The fields are `AttentiveNorm2d`'s."""

    num_entities: int = Field(16, ge=1, le=4096)
    temperature: float = Field(0.1, gt=0)
    self_sampling: bool = True
    statistics: Literal["instance", "batch"] = "instance"
    variance: Literal["weighted", "algorithm1"] = "weighted"
    affine: Literal["entity", "shared", "none"] = "entity"
    entity_std: float | None = Field(None, gt=0)

    def attentive_norm(self, channels: int, spectral_norm: bool) -> AttentiveNorm2d:
        return AttentiveNorm2d(
            channels,
            self.num_entities,
            temperature=self.temperature,
            self_sampling=self.self_sampling,
            statistics=self.statistics,
            variance=self.variance,
            affine=self.affine,
            entity_std=self.entity_std,
            spectral_norm=spectral_norm,
        )
