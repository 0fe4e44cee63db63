"""The settings of attentive normalization inside a network, the same in every network that has it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from attnorm.config import require_range
from attnorm.layers import AttentiveNorm2d


@dataclass(frozen=True, kw_only=True)
class AttentiveNormConfig:
    """The fields are `AttentiveNorm2d`'s."""

    num_entities: int = 16
    temperature: float = 0.1
    self_sampling: bool = True
    statistics: Literal["instance", "batch"] = "instance"
    variance: Literal["weighted", "algorithm1"] = "weighted"
    affine: Literal["entity", "shared", "none"] = "entity"
    entity_std: float | None = None

    def __post_init__(self) -> None:
        require_range("num_entities", self.num_entities, 1, 4096)
        for name in ("temperature", "entity_std"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")

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
