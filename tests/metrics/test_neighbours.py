"""The kernel distance, precision and recall against sums and loops over all pairs, written out."""

import itertools

import numpy as np
import pytest

from attnorm.metrics.neighbours import KID, NEIGHBOURS, precision_recall, squared_mmd
from tests.metrics.test_fid import normal


def naive_mmd(x, y):
    def kernel(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    own = [np.mean([kernel(a, b) for a, b in itertools.permutations(side, 2)]) for side in (x, y)]
    return sum(own) - 2 * np.mean([kernel(a, b) for a in x for b in y])


@pytest.mark.promise
@pytest.mark.parametrize("counts", [(2, 2), (5, 9)])
def test_the_discrepancy_is_the_sum_over_pairs(counts):
    x, y = normal(counts[0], 4), normal(counts[1], 4, seed=1) + 0.3
    assert squared_mmd(x, y) == pytest.approx(naive_mmd(x, y), rel=1e-10)


def measured(x, y, seed=0):
    return KID().compute({"feats": x}, {"feats": y}, seed)


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


def naive_precision_recall(real, fake):
    """Kynkäänniemi et al., eq. 1 to 3, an image at a time."""

    def inside(points, manifold):
        radii = []
        for i, centre in enumerate(manifold):
            distances = sorted(float((centre - other).norm()) for j, other in enumerate(manifold) if j != i)
            radii.append(distances[NEIGHBOURS - 1])
        hits = [any(float((p - c).norm()) <= r for c, r in zip(manifold, radii, strict=True)) for p in points]
        return sum(hits) / len(hits)

    return inside(fake, real), inside(real, fake)


@pytest.mark.promise
@pytest.mark.parametrize("block", [4, 1024])
def test_precision_and_recall_are_what_the_loops_count(block):
    real, fake = normal(40, 5), normal(33, 5, seed=1) + 1
    found = precision_recall(real, fake, block)
    assert found == naive_precision_recall(real, fake)
    assert 0 < found[0] < 1 and 0 < found[1] < 1


@pytest.mark.promise
def test_a_large_mean_does_not_blur_distances():
    real, fake = normal(40, 5), normal(33, 5, seed=1) * 1.3
    assert precision_recall(real + 1e5, fake + 1e5) == precision_recall(real, fake)
