"""NMI and purity against scikit-learn and by hand, and what the two references say."""

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from attnorm.metrics.agreement import agreement, confusion_matrix, score


def layouts_of(entities, count):
    """Entities (b, h, w) as layouts (b, n, h, w) that prefer them."""
    return 0.5 * torch.nn.functional.one_hot(entities, count).movedim(-1, 1).float() + 0.1


def random_pair(seed, entities=5, regions=4, shape=(3, 8, 8)):
    """Regions, and entities that follow them in two pixels of three."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(regions, shape, generator=generator)
    noise = torch.randint(entities, shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) < 2 / 3, truth, noise), truth


@pytest.mark.parametrize("seed", range(3))
def test_the_score_is_scikit_learns(seed):
    entities, truth = random_pair(seed)
    found = agreement(layouts_of(entities, 5), truth, 4)
    table = contingency_matrix(entities.numpy().ravel(), truth.numpy().ravel())
    assert np.array_equal(found.confusion.numpy(), table)
    expected = normalized_mutual_info_score(truth.numpy().ravel(), entities.numpy().ravel())
    assert found.score.nmi == pytest.approx(expected, abs=1e-12)
    assert found.score.purity == pytest.approx(table.max(1).sum() / table.sum(), abs=1e-12)


def test_a_table_by_hand():
    assert score(torch.tensor([[3, 1], [0, 4]])).purity == 7 / 8
    assert score(torch.tensor([[4, 0], [0, 4]])) == (1, 1)
    assert score(torch.tensor([[0, 4], [4, 0]])) == (1, 1)  # which entity is which region does not matter
    assert score(torch.tensor([[2, 2], [2, 2]])) == pytest.approx((0, 0.5), abs=1e-12)
    assert score(torch.tensor([[8, 0], [0, 0]])) == (1, 1)  # one cluster on both sides, as scikit-learn has it
    assert score(torch.tensor([[4, 4], [0, 0]])) == (0, 0.5)


def test_shuffled_pixels_keep_the_shares_and_know_nothing():
    entities, truth = random_pair(0, shape=(20, 16, 16))
    found = agreement(layouts_of(entities, 5), truth, 4)
    assert found.score.nmi > 0.25
    assert found.shuffled.nmi < 0.01
    largest = truth.flatten().bincount().max().item() / truth.numel()
    assert largest <= found.shuffled.purity < largest + 0.03


def test_exchanged_layouts_keep_what_is_the_same_in_every_picture():
    """Halves that are the same in all pictures tell nothing of one; the pictures' own halves do."""
    top = torch.zeros(4, 8, 8, dtype=torch.long)
    top[:, 4:] = 1
    same = agreement(layouts_of(top, 2), top, 2)
    assert same.score == same.exchanged == (1, 1)
    assert same.shuffled.nmi < 0.1
    own = torch.stack([torch.roll(top[0], shift, 0) for shift in range(0, 8, 2)])
    found = agreement(layouts_of(own, 2), own, 2)
    assert found.score == (1, 1)
    assert found.exchanged.nmi < 0.5


def test_the_references_depend_on_the_seed_alone():
    entities, truth = random_pair(0)
    torch.manual_seed(3)
    first = agreement(layouts_of(entities, 5), truth, 4, seed=1)
    torch.manual_seed(4)
    assert first[:3] == agreement(layouts_of(entities, 5), truth, 4, seed=1)[:3]
    assert first.shuffled != agreement(layouts_of(entities, 5), truth, 4, seed=2).shuffled


@pytest.mark.parametrize(("small", "large"), [((4, 4), (8, 8)), ((4, 4), (4, 4)), ((3, 5), (7, 11)), ((4, 8), (8, 4))])
def test_maps_of_different_sizes_meet_at_the_larger(small, large):
    generator = torch.Generator().manual_seed(0)
    entities, truth = (torch.randint(3, (2, *size), generator=generator) for size in (small, large))
    height, width = (max(sides) for sides in zip(small, large, strict=True))
    expected = torch.zeros(3, 3, dtype=torch.long)
    for picture in range(2):
        for row in range(height):
            for column in range(width):
                entity = entities[picture, row * small[0] // height, column * small[1] // width]
                region = truth[picture, row * large[0] // height, column * large[1] // width]
                expected[entity, region] += 1
    assert torch.equal(confusion_matrix(entities, truth, 3, 3), expected)
    swapped = confusion_matrix(truth, entities, 3, 3)
    assert torch.equal(swapped, expected.T)


def test_an_entity_and_a_region_that_never_occur_have_their_row_and_column():
    entities, truth = random_pair(0)
    assert agreement(layouts_of(entities, 9), truth.to(torch.uint8), 6).confusion.shape == (9, 6)


@pytest.mark.parametrize(
    ("layouts", "regions", "part"),
    [
        ((2, 4, 4), (2, 4, 4), "layouts must be"),
        ((2, 3, 4, 4), (2, 1, 4, 4), "regions"),
        ((2, 3, 4, 4), (3, 4, 4), "got"),
        ((1, 3, 4, 4), (1, 4, 4), "at least two pictures"),
    ],
)
def test_what_does_not_fit_is_refused(layouts, regions, part):
    with pytest.raises(ValueError, match=part):
        agreement(torch.ones(layouts), torch.zeros(regions, dtype=torch.long), 2)


@pytest.mark.parametrize("region", [-1, 2])
def test_a_region_out_of_range_is_refused(region):
    regions = torch.zeros(2, 4, 4, dtype=torch.long)
    regions[1, 2, 3] = region
    with pytest.raises(ValueError, match="regions must be from 0 to 1"):
        agreement(torch.ones(2, 3, 4, 4), regions, 2)
