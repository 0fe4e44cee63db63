"""Each metric against closed forms, its definition, or sums and loops over all pairs, written out."""

import itertools

import numpy as np
import pytest
import torch

from attnorm.metrics.fid import (
    NEIGHBOURS,
    SPLITS,
    fid,
    frechet_distance,
    inception_score,
    kid,
    precision_recall,
    squared_mmd,
)
from attnorm.metrics.statistics import NOTHING, Gaussian, Statistics


def of_rows(rows, batch=None):
    found = Gaussian()
    for part in rows.split(batch or len(rows)):
        found.update(part)
    return found.statistics()


def kept(**rows):
    return Statistics(NOTHING, NOTHING, **rows)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def two_pass(a, b):
    """The distance written out: mean, covariance, and the trace of the root from the eigenvalues of the product."""
    a, b = a.double().numpy(), b.double().numpy()
    first, second = np.cov(a.T), np.cov(b.T)
    roots = np.sqrt(np.clip(np.linalg.eigvals(first @ second).real, 0, None))
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(first) + np.trace(second) - 2 * roots.sum()


def test_covariances_that_commute_have_a_closed_form():
    basis, shift = torch.linalg.qr(normal(30, 30)).Q, normal(30)
    a, b = (torch.rand(30, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 5 for seed in (1, 2))
    first = Statistics(torch.zeros_like(shift), basis @ torch.diag(a) @ basis.T)
    second = Statistics(shift, basis @ torch.diag(b) @ basis.T)
    expected = shift.square().sum() + ((a.sqrt() - b.sqrt()) ** 2).sum()
    assert frechet_distance(first, second) == pytest.approx(expected.item(), rel=1e-10)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-12)


@pytest.mark.promise
@pytest.mark.parametrize("counts", [(40, 50), (200, 31)])
def test_streamed_statistics_give_the_two_pass_distance(counts):
    a, b = normal(counts[0], 16), normal(counts[1], 16, seed=1) * 2 + 1
    assert frechet_distance(of_rows(a, 7), of_rows(b, 3)) == pytest.approx(two_pass(a, b), rel=1e-9)


def test_fewer_images_than_features_cost_no_accuracy():
    """Two rows each: the covariances have rank one, and the trace of the root is |u · v| / 2 of the differences."""
    a, b = normal(2, 300), normal(2, 300, seed=1)
    u, v = a[0] - a[1], b[0] - b[1]
    expected = (a.mean(0) - b.mean(0)).square().sum() + (u @ u + v @ v) / 2 - (u @ v).abs()
    assert frechet_distance(of_rows(a), of_rows(b)) == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.promise
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("batch", "mean"), [(1, 3), (7, 1e4)])
def test_streaming_keeps_the_digits_of_the_covariance(batch, mean, dtype):
    rows = normal(100, 10, dtype=dtype) * torch.arange(1, 11) + mean
    found = of_rows(rows, batch)
    assert found.count == 100
    np.testing.assert_allclose(found.mu, rows.double().mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.sigma, np.cov(rows.double().numpy().T), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("real", "fake", "warning"), [(17, 20, ""), (16, 20, "16 real images"), (16, 9, "9 generated images")]
)
def test_sets_that_are_too_small_for_the_features_are_named(real, fake, warning):
    value = fid(of_rows(normal(real, 16)), of_rows(normal(fake, 16)))
    assert value.warning.startswith(warning) and bool(value.warning) == bool(warning)


def naive_score(probabilities):
    """exp E[KL(p(y|x) || p(y))] of each split, cut as torch-fidelity does."""
    scores, n = [], len(probabilities)
    for part in (probabilities[i * n // SPLITS : (i + 1) * n // SPLITS] for i in range(SPLITS)):
        scores.append(np.exp(np.mean(np.sum(part * (np.log(part) - np.log(part.mean(0))), axis=1))))
    return np.mean(scores), np.std(scores)


def random_probabilities(count, classes):
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(0)).mul(2).softmax(1)


@pytest.mark.promise
@pytest.mark.parametrize("count", [200, 207, 13])
def test_the_score_is_the_definition(count):
    p = random_probabilities(count, 6)
    found = inception_score(None, kept(probabilities=p))
    assert tuple(found.values.values()) == pytest.approx(naive_score(p.double().numpy()), rel=1e-6)


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
    return kid(kept(feats=x), kept(feats=y), seed)


def test_two_sets_that_are_used_up_are_compared_once():
    x, y = normal(5, 3), normal(5, 3, seed=1)
    value = measured(x, y)
    assert value.values == {"mean": pytest.approx(squared_mmd(x, y), rel=1e-12)}
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


def shares(real, fake, block=1024):
    return tuple(precision_recall(kept(feats=real), kept(feats=fake), 0, block).values.values())


@pytest.mark.promise
@pytest.mark.parametrize("block", [4, 1024])
def test_precision_and_recall_are_what_the_loops_count(block):
    real, fake = normal(40, 5), normal(33, 5, seed=1) + 1
    found = shares(real, fake, block)
    assert found == naive_precision_recall(real, fake)
    assert 0 < found[0] < 1 and 0 < found[1] < 1


@pytest.mark.promise
def test_a_large_mean_does_not_blur_distances():
    real, fake = normal(40, 5), normal(33, 5, seed=1) * 1.3
    assert shares(real + 1e5, fake + 1e5) == shares(real, fake)
