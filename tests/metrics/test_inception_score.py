"""The inception score against its definition, split by split."""

import numpy as np
import pytest
import torch

from attnorm.metrics.base import Batch
from attnorm.metrics.inception_score import SPLITS, InceptionScore, SplitProbabilities


def naive(probabilities):
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
    expected = pytest.approx(naive(p.double().numpy()), rel=1e-6)
    assert score(p) == expected
    assert score(p, 3, torch.randperm(count, generator=torch.Generator().manual_seed(0))) == expected
