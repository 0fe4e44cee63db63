"""Precision and recall against loops over all pairs."""

import pytest
import torch

from attnorm.metrics.precision_recall import NEIGHBOURS, precision_recall


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive(real, fake):
    """Kynkäänniemi et al., eq. 1 to 3, an image at a time."""

    def inside(points, manifold):
        radii = []
        for i, centre in enumerate(manifold):
            distances = sorted(float((centre - other).norm()) for j, other in enumerate(manifold) if j != i)
            radii.append(distances[NEIGHBOURS - 1])
        hits = [any(float((p - c).norm()) <= r for c, r in zip(manifold, radii, strict=True)) for p in points]
        return sum(hits) / len(hits)

    real, fake = real.double(), fake.double()
    return inside(fake, real), inside(real, fake)


@pytest.mark.promise
@pytest.mark.parametrize("block", [4, 1024])
def test_both_are_what_the_loops_count(block):
    real, fake = normal(40, 5), normal(33, 5, seed=1) + 1
    found = precision_recall(real, fake, block)
    assert found == naive(real, fake)
    assert 0 < found[0] < 1 and 0 < found[1] < 1


@pytest.mark.promise
def test_a_large_mean_does_not_blur_distances():
    real, fake = normal(40, 5).double(), normal(33, 5, seed=1).double() * 1.3
    assert precision_recall(real + 1e5, fake + 1e5) == precision_recall(real, fake)
