"""Does a layout follow the true regions of a picture? Agreement of its argmax with a region map, beside what a layout
that knows nothing of the picture would get.

Agreement alone says little: a clustering with many clusters is pure by accident, and sky is above ground in every
picture. Hence two references, of the same shares: pixels shuffled over all pictures, and whole layouts given to other
pictures, which know the usual places of things but not this picture.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Score(NamedTuple):
    """nmi: normalised mutual information, in [0, 1]; by the arithmetic mean of the two entropies.
    purity: the share of pixels whose region is the most frequent one of their entity, in (0, 1].
    """

    nmi: float
    purity: float


class Agreement(NamedTuple):
    """score: of the layouts. shuffled, exchanged: means over draws of the two references.
    confusion: (n, regions) pixels of each entity in each region.
    """

    score: Score
    shuffled: Score
    exchanged: Score
    confusion: Tensor


def agreement(layouts: Tensor, regions: Tensor, num_regions: int, *, draws: int = 10, seed: int = 0) -> Agreement:
    """Agreement of layouts with the true regions of the same pictures.

    Args:
        layouts: (b, n, h, w), whose argmax is measured.
        regions: (b, H, W) integers in [0, num_regions). The two sizes may differ: pixels are those of the larger side,
            and the smaller map is enlarged by repetition.
        draws: how many shuffled layouts, and at most how many exchanges with other pictures, make the references.

    Raises:
        ValueError: shapes or regions do not fit, or there are fewer than two pictures to exchange layouts between.
    """
    if layouts.ndim != 4 or regions.ndim != 3 or len(layouts) != len(regions):
        raise ValueError(f"layouts must be (b, n, h, w) and regions (b, H, W), got {layouts.shape} and {regions.shape}")
    if len(layouts) < 2:
        raise ValueError("agreement needs at least two pictures")
    if regions.min() < 0 or regions.max() >= num_regions:
        raise ValueError(f"regions must be from 0 to {num_regions - 1}")
    winners, count = layouts.argmax(1).cpu(), layouts.shape[1]
    regions = regions.long().cpu()
    generator = torch.Generator().manual_seed(seed)

    def compare(entities: Tensor) -> Tensor:
        return confusion_matrix(entities, regions, count, num_regions)

    def shuffle() -> Tensor:
        return winners.flatten()[torch.randperm(winners.numel(), generator=generator)].view_as(winners)

    confusion = compare(winners)
    turns = range(1, min(draws, len(winners) - 1) + 1)
    return Agreement(
        score(confusion),
        _mean([score(compare(shuffle())) for _ in range(draws)]),
        _mean([score(compare(winners.roll(turn, 0))) for turn in turns]),
        confusion,
    )


def confusion_matrix(entities: Tensor, regions: Tensor, num_entities: int, num_regions: int) -> Tensor:
    """Pixels of each entity (b, h, w) in each region (b, H, W): (num_entities, num_regions) int64."""
    size = [max(sides) for sides in zip(entities.shape[1:], regions.shape[1:], strict=True)]
    pairs = _enlarged(entities, size) * num_regions + _enlarged(regions, size)
    return pairs.flatten().bincount(minlength=num_entities * num_regions).view(num_entities, num_regions)


def score(confusion: Tensor) -> Score:
    """NMI and purity of a confusion matrix; an NMI of 1 where both sides have one cluster only."""
    joint = confusion.double() / confusion.sum()
    rows, columns = _entropy(joint.sum(1)), _entropy(joint.sum(0))
    information = rows + columns - _entropy(joint.flatten())
    both = (rows + columns).item()
    nmi = 2 * information.item() / both if both > 0 else 1.0
    return Score(min(max(nmi, 0.0), 1.0), joint.amax(1).sum().item())


def _entropy(shares: Tensor) -> Tensor:
    return -torch.xlogy(shares, shares).sum()


def _enlarged(maps: Tensor, size: list[int]) -> Tensor:
    """Maps (b, h, w) at (b, *size) by repeating pixels."""
    rows, columns = (torch.arange(side) * old // side for side, old in zip(size, maps.shape[1:], strict=True))
    return maps[:, rows[:, None], columns]


def _mean(scores: list[Score]) -> Score:
    return Score(*(sum(figures) / len(scores) for figures in zip(*scores, strict=True)))
