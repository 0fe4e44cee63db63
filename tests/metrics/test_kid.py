"""The kernel distance against sums over all pairs, written out."""

import itertools

import numpy as np
import pytest
import torch

from attnorm.errors import UserError
from attnorm.metrics.collecting import FeatureRows, Portion
from attnorm.metrics.kid import kernel_distance, kid, squared_mmd
from attnorm.metrics.registry import Options


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive(x, y):
    def kernel(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    x, y = x.double(), y.double()
    own = [np.mean([kernel(a, b) for a, b in itertools.permutations(side, 2)]) for side in (x, y)]
    return sum(own) - 2 * np.mean([kernel(a, b) for a in x for b in y])


def rows(features):
    found = FeatureRows()
    found.take(Portion(features, None, torch.zeros(len(features), dtype=torch.int64), torch.arange(0), 0))
    return found


@pytest.mark.parametrize("counts", [(2, 2), (7, 7), (5, 9)])
def test_the_discrepancy_is_the_sum_over_pairs(counts):
    x, y = normal(counts[0], 4), normal(counts[1], 4, seed=1) + 0.3
    assert squared_mmd(x, y) == pytest.approx(naive(x, y), rel=1e-10)


def test_the_discrepancy_has_no_bias():
    """Two samples of one distribution: the mean over many small ones is near 0, a biased one's would not be."""
    values = [squared_mmd(normal(8, 4, seed=2 * i), normal(8, 4, seed=2 * i + 1)) for i in range(1500)]
    error = np.std(values) / len(values) ** 0.5
    assert abs(np.mean(values)) < 4 * error
    assert min(values) < 0


def test_subsets_as_large_as_the_sets_all_agree():
    x, y = normal(12, 4), normal(12, 4, seed=1)
    mean, deviation = kernel_distance(x, y, 0, subsets=5, subset_size=12)
    assert mean == pytest.approx(squared_mmd(x, y), rel=1e-12)
    assert deviation == pytest.approx(0, abs=1e-12)


def test_subsets_are_drawn_without_replacement_and_from_both_sides():
    """Of two pictures each, a subset of two is everything; of four, subsets of two differ."""
    x, y = normal(4, 3), normal(4, 3, seed=1)
    pairs = list(itertools.combinations(range(4), 2))
    possible = [squared_mmd(x[list(a)], y[list(b)]) for a in pairs for b in pairs]
    for seed in range(20):
        mean, deviation = kernel_distance(x, y, seed, subsets=1, subset_size=2)
        assert min(abs(mean - one) for one in possible) < 1e-12
        assert deviation == 0
    mean, deviation = kernel_distance(x, y, 0, subsets=4000, subset_size=2)
    assert mean == pytest.approx(np.mean(possible), abs=5 * np.std(possible) / 4000**0.5)
    assert deviation == pytest.approx(np.std(possible), rel=0.1)


def test_the_seed_decides_about_the_subsets():
    x, y = normal(30, 3), normal(30, 3, seed=1)
    values = [kernel_distance(x, y, seed, subsets=3, subset_size=5) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("size", [1, 6])
def test_a_subset_that_cannot_be_drawn_is_refused(size):
    with pytest.raises(UserError, match=f"needs subsets of 2 to 5 pictures, got {size}"):
        kernel_distance(normal(5, 3), normal(9, 3), 0, subsets=1, subset_size=size)


def test_the_metric_says_how_many_subsets_it_took():
    few, more = rows(normal(5, 3)), rows(normal(8, 3))
    assert kid(few, few, Options()).details == {"subsets": 1, "subset_size": 5}
    value = kid(few, more, Options())
    assert value.details == {"subsets": 100, "subset_size": 5}
    assert value.better == "lower"
    assert kid(rows(normal(1100, 2)), rows(normal(1001, 2)), Options()).details["subset_size"] == 1000
