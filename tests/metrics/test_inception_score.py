"""The inception score against its definition, split by split."""

import numpy as np
import pytest
import torch

from attnorm.errors import UserError
from attnorm.metrics.inception_score import SPLITS, SplitProbabilities, inception_score
from attnorm.metrics.registry import Options


def naive(probabilities, splits):
    """exp E[KL(p(y|x) || p(y))] of each split, cut as in torch-fidelity and StyleGAN2-ADA."""
    scores, count = [], len(probabilities)
    for split in range(splits):
        part = probabilities[split * count // splits : (split + 1) * count // splits]
        marginal = part.mean(0)
        scores.append(np.exp(np.mean(np.sum(part * (np.log(part) - np.log(marginal)), axis=1))))
    return np.mean(scores), np.std(scores)


def collected(probabilities, batch=7, order=None):
    found, total = SplitProbabilities(), len(probabilities)
    positions = torch.arange(total) if order is None else order
    for part in positions.split(batch):
        found.update(probabilities[part], part, total)
    return found


def random_probabilities(count, classes, seed=0):
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(1)


@pytest.mark.parametrize("count", [200, 37, 11, 104])
def test_the_score_is_the_definition(count):
    p = random_probabilities(count, 6)
    assert collected(p).score() == pytest.approx(naive(p.double().numpy(), SPLITS), rel=1e-6)


def test_splits_are_consecutive_whatever_the_order_and_size_of_batches():
    p = random_probabilities(100, 4)
    shuffled = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    expected = collected(p).score()
    assert collected(p, 100).score() == pytest.approx(expected, rel=1e-12)
    assert collected(p, 3, shuffled).score() == pytest.approx(expected, rel=1e-12)


def test_a_number_that_ten_does_not_divide_uses_every_picture():
    found = collected(random_probabilities(37, 4))
    assert found.counts.sum() == 37
    assert found.counts.tolist() == [3, 4, 4, 3, 4, 4, 3, 4, 4, 4]


def test_sure_and_evenly_spread_classes_score_their_number():
    assert collected(torch.eye(5).repeat(20, 1)).score() == pytest.approx((5, 0))


def test_pictures_that_tell_nothing_apart_score_one():
    assert collected(torch.full((50, 8), 1 / 8)).score() == pytest.approx((1, 0))
    assert collected(torch.eye(8)[:1].repeat(50, 1)).score() == pytest.approx((1, 0))


def test_fewer_pictures_than_splits_are_refused():
    with pytest.raises(UserError, match="needs a picture in each of 10 splits, got 9"):
        collected(random_probabilities(9, 3)).score()


def test_arrays_bring_everything_back():
    found = collected(random_probabilities(40, 3))
    assert SplitProbabilities.from_arrays(found.arrays()).score() == found.score()


def test_the_metric_reports_mean_and_deviation():
    found = collected(random_probabilities(100, 3))
    value = inception_score(found, Options())
    assert (value.values["mean"], value.values["deviation"]) == found.score()
    assert (value.better, value.details) == ("higher", {"splits": 10})
