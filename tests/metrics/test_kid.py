"""The kernel distance against sums over all pairs, written out."""

import itertools

import numpy as np
import pytest
import torch

from attnorm.metrics.base import FeatureRows
from attnorm.metrics.kid import KID, squared_mmd


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


def measured(x, y, seed=0):
    sides = []
    for features in (x, y):
        rows = FeatureRows()
        rows.features = features
        sides.append(rows)
    return KID().compute(*sides, seed, torch.device("cpu"))


def test_two_sets_that_are_used_up_are_compared_once():
    x, y = normal(5, 3), normal(5, 3, seed=1)
    value = measured(x, y)
    assert value.values == {"mean": pytest.approx(squared_mmd(x, y), rel=1e-12), "deviation": 0}
    assert value.details == {"subsets": 1, "subset_size": 5}


def test_of_a_larger_set_random_subsets_without_repetition_are_compared():
    x, y = normal(3, 3), normal(4, 3, seed=1)
    possible = [squared_mmd(x, y[list(rows)]) for rows in itertools.combinations(range(4), 3)]
    value = measured(x, y)
    assert value.details == {"subsets": 100, "subset_size": 3}
    assert value.values["mean"] == pytest.approx(np.mean(possible), abs=5 * np.std(possible) / 10)
    assert value.values["deviation"] == pytest.approx(np.std(possible), rel=0.3)
    assert measured(x, y) == value != measured(x, y, seed=1)
