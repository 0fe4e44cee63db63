"""Precision and recall against loops over all pairs."""

import pytest
import torch

from attnorm.errors import UserError
from attnorm.metrics.precision_recall import precision_recall


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive(real, fake, neighbours):
    """Kynkäänniemi et al., eq. 1 to 3, an image at a time."""

    def inside(points, manifold):
        radii = []
        for i, centre in enumerate(manifold):
            distances = sorted(float((centre - other).norm()) for j, other in enumerate(manifold) if j != i)
            radii.append(distances[neighbours - 1])
        hits = [any(float((p - c).norm()) <= r for c, r in zip(manifold, radii, strict=True)) for p in points]
        return sum(hits) / len(hits)

    real, fake = real.double(), fake.double()
    return inside(fake, real), inside(real, fake)


@pytest.mark.promise
@pytest.mark.parametrize("neighbours", [1, 3, 5])
@pytest.mark.parametrize("block", [4, 1024])
def test_both_are_what_the_loops_count(neighbours, block):
    real, fake = normal(40, 5), normal(33, 5, seed=1) + 1
    found = precision_recall(real, fake, neighbours=neighbours, block=block)
    assert found == naive(real, fake, neighbours)
    assert 0 < found[0] < 1 and 0 < found[1] < 1


def test_a_large_mean_does_not_blur_distances():
    real, fake = normal(40, 5).double(), normal(33, 5, seed=1).double() * 1.3
    assert precision_recall(real + 1e5, fake + 1e5) == precision_recall(real, fake)


def test_sets_that_are_equal_far_apart_or_a_few_repeated_images():
    real = normal(60, 4)
    assert precision_recall(real, real.clone()) == (1, 1)
    assert precision_recall(real, real + 100) == (0, 0)
    assert precision_recall(real, real[:2].repeat(20, 1)) == (1, 2 / 60)


@pytest.mark.parametrize("counts", [(3, 9), (9, 3)])
def test_too_few_images_are_refused(counts):
    with pytest.raises(UserError, match=f"more than 3 images of each set, got {counts[0]} and {counts[1]}"):
        precision_recall(normal(counts[0], 2), normal(counts[1], 2))
