"""What `attnorm visualize` checks and says of layouts, whatever the model's task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from attnorm.errors import UserError
from attnorm.metrics.layout import layout_usage


def no_layout(model: str) -> UserError:
    """The error for a model that has no layout to draw."""
    return UserError(f"{model} has no attentive normalization, so there is no layout to draw")


def check_entities(entities: Sequence[int] | None, layouts: np.ndarray) -> None:
    """Raises UserError if a chosen entity is not one of the layouts (b, n, h, w); None chooses them all."""
    count = layouts.shape[1]
    for entity in entities or ():
        if not 0 <= entity < count:
            raise UserError(f"there is no entity {entity}: the model's entities are 0 to {count - 1}")


def drawn_usage(sheet: Path, layouts: np.ndarray) -> str:
    """The line about a sheet that shows the layouts (b, n, h, w): how they use their entities."""
    usage, count = layout_usage(torch.from_numpy(layouts)), layouts.shape[1]
    return (
        f"{sheet}: {count} entities, sharpness {usage.sharpness:.3f} (1 is hard, {1 / count:.3f} uniform), "
        f"{usage.effective_entities:.1f} effective entities"
    )
