"""The kernel distance against sums over all pairs, written out."""

import itertools

import numpy as np
import pytest
import torch

from attnorm.errors import UserError
from attnorm.metrics.base import Batch, FeatureRows, Options
from attnorm.metrics.kid import KID, kernel_distance, squared_mmd


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive(x, y):
    def kernel(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    x, y = x.double(), y.double()
    own = [np.mean([kernel(a, b) for a, b in itertools.permutations(side, 2)]) for side in (x, y)]
    return sum(own) - 2 * np.mean([kernel(a, b) for a in x for b in y])


@pytest.mark.promise
@pytest.mark.parametrize("counts", [(2, 2), (5, 9)])
def test_the_discrepancy_is_the_sum_over_pairs(counts):
    x, y = normal(counts[0], 4), normal(counts[1], 4, seed=1) + 0.3
    assert squared_mmd(x, y) == pytest.approx(naive(x, y), rel=1e-10)


def test_the_discrepancy_has_no_bias():
    """Two samples of one distribution: the mean over many small ones is near 0; a biased one's would not be."""
    values = [squared_mmd(normal(8, 4, seed=2 * i), normal(8, 4, seed=2 * i + 1)) for i in range(1500)]
    assert abs(np.mean(values)) < 4 * np.std(values) / len(values) ** 0.5
    assert min(values) < 0


def test_subsets_are_drawn_without_replacement_from_both_sets():
    x, y = normal(4, 3), normal(4, 3, seed=1)
    pairs = list(itertools.combinations(range(4), 2))
    possible = [squared_mmd(x[list(a)], y[list(b)]) for a in pairs for b in pairs]
    mean, deviation = kernel_distance(x, y, 0, subsets=4000, subset_size=2)
    assert mean == pytest.approx(np.mean(possible), abs=5 * np.std(possible) / 4000**0.5)
    assert deviation == pytest.approx(np.std(possible), rel=0.1)
    whole = kernel_distance(x, y, 0, subsets=5, subset_size=4)
    assert whole == pytest.approx((squared_mmd(x, y), 0), rel=1e-12, abs=1e-12)


def test_the_seed_decides_about_the_subsets():
    x, y = normal(30, 3), normal(30, 3, seed=1)
    values = [kernel_distance(x, y, seed, subsets=3, subset_size=5) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("size", [1, 6])
def test_a_subset_that_cannot_be_drawn_is_refused(size):
    with pytest.raises(UserError, match=f"needs subsets of 2 to 5 images, got {size}"):
        kernel_distance(normal(5, 3), normal(9, 3), 0, subsets=1, subset_size=size)


@pytest.mark.parametrize(("counts", "subsets", "size"), [((5, 5), 1, 5), ((5, 8), 100, 5)])
def test_the_metric_says_how_many_subsets_it_took(counts, subsets, size):
    sides = []
    for count in counts:
        rows = FeatureRows()
        rows.update(Batch(normal(count, 2), None, torch.arange(count), count))
        sides.append(rows)
    value = KID().compute(*sides, Options())
    assert (value.details, value.better) == ({"subsets": subsets, "subset_size": size}, "lower")
