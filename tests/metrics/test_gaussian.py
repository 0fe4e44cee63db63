"""Fréchet distances against closed forms, and statistics that do not depend on how they were gathered."""

import math

import numpy as np
import pytest
import torch

from attnorm.errors import UserError
from attnorm.metrics.gaussian import GaussianStatistics, frechet_distance


def statistics(mean, covariance, count=1000):
    found = GaussianStatistics()
    found.count, found.mean = count, torch.as_tensor(mean, dtype=torch.float64)
    found.scatter = torch.as_tensor(covariance, dtype=torch.float64) * (count - 1)
    return found


def of_rows(rows, batch=None):
    found = GaussianStatistics()
    for part in rows.split(batch or len(rows)):
        found.update(part)
    return found


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_covariance(dim, seed):
    factor = normal(dim, dim, seed=seed)
    return factor @ factor.T / dim


def test_one_dimension_by_hand():
    assert frechet_distance(statistics([1], [[4]]), statistics([3], [[9]])) == pytest.approx(2**2 + (3 - 2) ** 2)


def test_equal_covariances_leave_the_distance_of_the_means():
    covariance = random_covariance(20, 0)
    shift = normal(20)
    distance = frechet_distance(statistics(torch.zeros(20), covariance), statistics(shift, covariance))
    assert distance == pytest.approx(shift.square().sum().item(), rel=1e-10)


def test_covariances_that_commute_leave_the_distance_of_the_deviations():
    basis = torch.linalg.qr(normal(30, 30)).Q
    a, b = (torch.rand(30, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 5 for seed in (1, 2))
    first, second = (statistics(torch.zeros(30), basis @ torch.diag(v) @ basis.T) for v in (a, b))
    assert frechet_distance(first, second) == pytest.approx(((a.sqrt() - b.sqrt()) ** 2).sum().item(), rel=1e-10)


def test_covariances_that_do_not_commute_against_a_square_root_by_newtons_method():
    a, b = random_covariance(12, 3), random_covariance(12, 4)
    product, y, z = a @ b, a @ b, torch.eye(12, dtype=torch.float64)
    scale = product.norm()
    y = y / scale
    for _ in range(60):  # Denman and Beavers' iteration for the square root of a matrix that is not symmetric
        y, z = (y + torch.linalg.inv(z)) / 2, (z + torch.linalg.inv(y)) / 2
    root = y * scale.sqrt()
    torch.testing.assert_close(root @ root, product, rtol=1e-9, atol=1e-9)
    expected = (a + b - 2 * root).trace().item()
    zero = torch.zeros(12)
    assert frechet_distance(statistics(zero, a), statistics(zero, b)) == pytest.approx(expected, rel=1e-8)


def test_the_distance_is_symmetric_and_zero_to_itself():
    a, b = of_rows(normal(50, 8)), of_rows(normal(60, 8, seed=1) * 2 + 1)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


def test_large_samples_come_near_the_distance_of_their_distributions():
    a, b = normal(200_000, 4), normal(200_000, 4, seed=1) * 3 + 2
    assert frechet_distance(of_rows(a), of_rows(b)) == pytest.approx(4 * (2**2 + (3 - 1) ** 2), rel=0.01)


def two_pass(a, b):
    """The distance written out: mean, covariance, and the trace of the root from the eigenvalues of the product."""
    a, b = a.double().numpy(), b.double().numpy()
    shift = a.mean(0) - b.mean(0)
    first, second = np.cov(a.T), np.cov(b.T)
    roots = np.sqrt(np.clip(np.linalg.eigvals(first @ second).real, 0, None))
    return shift @ shift + np.trace(first) + np.trace(second) - 2 * roots.sum()


@pytest.mark.parametrize("counts", [(40, 50), (200, 31)])
def test_streamed_statistics_give_the_two_pass_distance(counts):
    a, b = normal(counts[0], 16), normal(counts[1], 16, seed=1) * 2 + 1
    assert frechet_distance(of_rows(a, 7), of_rows(b, 3)) == pytest.approx(two_pass(a, b), rel=1e-9)


def test_the_distance_of_one_gaussian_to_itself_falls_with_the_number_of_images():
    """Why an intra-FID names its number of images per class."""
    scales = torch.arange(1, 65) ** -0.5
    real = of_rows(normal(40, 64) * scales)
    few, some, many = (frechet_distance(real, of_rows(normal(n, 64, seed=n) * scales)) for n in (5, 50, 500))
    assert few > 1.5 * some > 1.5 * 1.3 * many > 0


def test_fewer_pictures_than_features_cost_no_accuracy():
    """Two rows a side: the covariances have rank one, and the trace of the root is |u · v| / 2 of the differences."""
    a, b = normal(2, 300), normal(2, 300, seed=1)
    u, v = a[0] - a[1], b[0] - b[1]
    expected = (a.mean(0) - b.mean(0)).square().sum() + (u @ u + v @ v) / 2 - (u @ v).abs()
    assert frechet_distance(of_rows(a), of_rows(b)) == pytest.approx(expected.item(), rel=1e-9)


def test_pictures_that_are_all_alike_have_a_distance():
    same, other = torch.ones(3, 4), normal(5, 4)
    expected = (other.mean(0) - 1).square().sum() + other.var(0).sum()
    assert frechet_distance(of_rows(same), of_rows(other)) == pytest.approx(expected.item(), rel=1e-12)
    assert frechet_distance(of_rows(same), of_rows(same)) == 0


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_streaming_gives_what_all_at_once_gives(batch):
    rows = normal(100, 10, seed=5) * torch.arange(1, 11) + 3
    found = of_rows(rows, batch)
    assert found.count == 100
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(rows.numpy().T), rtol=1e-12)


def test_a_large_mean_costs_no_digits():
    rows = normal(1000, 6)
    moved = rows + 1e4
    expected = np.cov(rows.numpy().T)
    np.testing.assert_allclose(of_rows(moved, 7).covariance, expected, rtol=1e-9, atol=1e-10)
    other = normal(900, 6, seed=1) * 1.5
    plain, shifted = (frechet_distance(of_rows(a), of_rows(b)) for a, b in ((rows, other), (moved, other + 1e4)))
    assert shifted == pytest.approx(plain, rel=1e-8)


def test_float32_features_are_accumulated_in_float64():
    rows = normal(64, 5, dtype=torch.float32) + 1000
    np.testing.assert_allclose(of_rows(rows, 4).covariance, np.cov(rows.double().numpy().T), rtol=1e-9)


def test_arrays_bring_everything_back():
    found = of_rows(normal(30, 5))
    again = GaussianStatistics.from_arrays(found.arrays())
    assert again.count == 30
    assert torch.equal(again.mean, found.mean)
    assert torch.equal(again.covariance, found.covariance)


@pytest.mark.parametrize("count", [0, 1])
def test_one_picture_has_no_covariance(count):
    with pytest.raises(UserError, match=f"a covariance needs at least 2 pictures, got {count}"):
        _ = of_rows(normal(count, 3)).covariance if count else GaussianStatistics().covariance


def test_the_distance_is_finite_where_a_feature_never_varies():
    rows = normal(50, 4)
    rows[:, 2] = 7
    assert math.isfinite(frechet_distance(of_rows(rows), of_rows(rows * 2)))
