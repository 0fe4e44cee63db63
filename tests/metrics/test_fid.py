"""Fréchet distances against closed forms and a two-pass reference, and the Inception score against its definition."""

import numpy as np
import pytest
import torch

from attnorm.metrics.base import Batch
from attnorm.metrics.fid import FID, GaussianStatistics, frechet_distance
from attnorm.metrics.inception_score import SPLITS, InceptionScore, SplitProbabilities


def of_rows(rows, batch=None):
    found = GaussianStatistics()
    for part in rows.split(batch or len(rows)):
        found.update(Batch(part, None, torch.arange(len(part)), len(rows)))
    return found.compute()


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
    first = {"mu": torch.zeros_like(shift), "sigma": basis @ torch.diag(a) @ basis.T}
    second = {"mu": shift, "sigma": basis @ torch.diag(b) @ basis.T}
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
    assert found["count"] == 100
    np.testing.assert_allclose(found["mu"], rows.double().mean(0), rtol=1e-13)
    np.testing.assert_allclose(found["sigma"], np.cov(rows.double().numpy().T), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("real", "fake", "warning"), [(17, 20, ""), (16, 20, "16 real images"), (20, 9, "9 generated images")]
)
def test_sets_that_are_too_small_for_the_features_are_named(real, fake, warning):
    value = FID().compute(of_rows(normal(real, 16)), of_rows(normal(fake, 16)), 0)
    assert value.warning.startswith(warning) and bool(value.warning) == bool(warning)


def naive_score(probabilities):
    """exp E[KL(p(y|x) || p(y))] of each split, cut as torch-fidelity does."""
    scores, n = [], len(probabilities)
    for part in (probabilities[i * n // SPLITS : (i + 1) * n // SPLITS] for i in range(SPLITS)):
        scores.append(np.exp(np.mean(np.sum(part * (np.log(part) - np.log(part.mean(0))), axis=1))))
    return np.mean(scores), np.std(scores)


def score(probabilities, batch=7, order=None):
    found, total = SplitProbabilities(), len(probabilities)
    for part in (torch.arange(total) if order is None else order).split(batch):
        found.update(Batch(torch.empty(0), probabilities[part], part, total))
    return tuple(InceptionScore().compute({}, found.compute(), 0).values.values())


def random_probabilities(count, classes):
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(0)).mul(2).softmax(1)


@pytest.mark.promise
@pytest.mark.parametrize("count", [200, 207, 13])
def test_the_score_is_the_definition_whatever_the_batches(count):
    p = random_probabilities(count, 6)
    expected = pytest.approx(naive_score(p.double().numpy()), rel=1e-6)
    assert score(p) == expected
    assert score(p, 3, torch.randperm(count, generator=torch.Generator().manual_seed(0))) == expected
