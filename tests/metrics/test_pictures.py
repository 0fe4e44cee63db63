"""Which pictures are compared: a random part of a set, and what a generator draws."""

import numpy as np
import pytest
import torch

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics.pictures import DRAW_BLOCK, dataset_pictures, drawn_labels, drawn_pictures


def numbered(count, start=0):
    """A set whose picture i is all i, of class i % 3."""
    images = (np.arange(start, start + count) % 256).astype(np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2)
    return ImageDataset(images.repeat(3, 3), np.arange(count) % 3, ("a", "b", "c"))


def everything(pictures, start=0, stop=None):
    return torch.cat(list(pictures.read(start, pictures.count if stop is None else stop)))


def echo(labels, seed):
    """A generator that draws its label, its place in the block and the seed, a pixel each."""
    pictures = np.zeros((len(labels), 2, 2, 3), np.uint8)
    pictures[:, 0, 0, 0], pictures[:, 0, 1, 0], pictures[:, 1, 0, 0] = labels, np.arange(len(labels)), seed % 251
    return pictures


@pytest.mark.parametrize("count", [None, 300, 1000])
def test_all_pictures_are_read_in_order(count):
    data = numbered(300)
    pictures = dataset_pictures(data, count)
    assert pictures.count == 300
    assert everything(pictures).dtype == torch.uint8
    assert np.array_equal(everything(pictures).permute(0, 2, 3, 1), data.images)
    assert np.array_equal(pictures.labels, data.labels)
    assert torch.equal(everything(pictures, 250, 270), everything(pictures)[250:270])


def test_a_part_is_drawn_at_random_once_each_with_its_labels():
    pictures = dataset_pictures(numbered(200), 50)
    indices = everything(pictures)[:, 0, 0, 0].long().numpy()
    assert len(set(indices)) == 50
    assert indices.max() > 100  # not the first ones
    assert np.array_equal(pictures.labels, indices % 3)


def test_the_seed_decides_which():
    parts = [everything(dataset_pictures(numbered(200), 50, seed)) for seed in (1, 1, 2)]
    assert torch.equal(parts[0], parts[1])
    assert not torch.equal(parts[0], parts[2])


def test_the_identity_is_of_the_chosen_pictures_and_their_labels():
    def identity(data, *arguments):
        return dataset_pictures(data, *arguments).identity

    data = numbered(200)
    same = identity(data, 50)
    assert identity(numbered(200), 50) == same
    relabelled = ImageDataset(data.images, (data.labels + 1) % 3, data.class_names)
    retouched = data.images.copy()
    retouched[np.flatnonzero(data.images[:, 0, 0, 0] == everything(dataset_pictures(data, 50))[7, 0, 0, 0].item())] += 1
    retouched = ImageDataset(retouched, data.labels, data.class_names)
    others = [
        identity(data),
        identity(data, 49),
        identity(data, 50, 1),
        identity(relabelled, 50),
        identity(retouched, 50),
    ]
    assert all(other != same for other in others)
    assert identity(data, None, 0) == identity(data, 200, 5)  # all of them: the seed decides nothing


def test_labels_come_in_rounds_that_are_each_shuffled():
    labels = drawn_labels(np.arange(20), 60, seed=3)
    rounds = labels.reshape(3, 20)
    assert all(sorted(one) == list(range(20)) for one in rounds.tolist())
    assert len({tuple(one) for one in rounds.tolist()}) == 3
    assert labels.tolist() != drawn_labels(np.arange(20), 60, seed=4).tolist()
    assert labels[:33].tolist() == drawn_labels(np.arange(20), 33, seed=3).tolist()


def test_classes_occur_as_often_as_they_are_given():
    labels = drawn_labels(np.array([0, 0, 0, 2]), 400, seed=0)
    assert np.bincount(labels).tolist() == [300, 0, 100]


def test_a_picture_depends_on_its_position_and_the_seed_alone():
    few, many = (drawn_pictures(echo, np.arange(5), count, 7) for count in (70, 333))
    assert torch.equal(everything(few), everything(many)[:70])
    assert torch.equal(everything(many, 45, 101), everything(many)[45:101])
    assert np.array_equal(everything(many)[:, 0, 0, 0], many.labels)
    assert np.array_equal(everything(many)[:, 0, 0, 1], np.arange(333) % DRAW_BLOCK)
    assert not torch.equal(everything(many), everything(drawn_pictures(echo, np.arange(5), 333, 8)))


def test_every_block_has_a_seed_of_its_own_that_a_pipeline_takes():
    seeds = []

    def draw(labels, seed):
        seeds.append(seed)
        return echo(labels, seed)

    everything(drawn_pictures(draw, np.arange(5), 40 * DRAW_BLOCK, (1 << 63) - 1))
    assert len(set(seeds)) == 40
    assert all(0 <= seed < 1 << 63 for seed in seeds)


def test_what_a_generator_draws_is_not_remembered():
    assert drawn_pictures(echo, np.arange(5), 10, 0).identity is None


@pytest.mark.parametrize("count", [0, -3])
def test_no_pictures_are_refused(count):
    with pytest.raises(UserError, match=f"the number of generated pictures must be at least 1, got {count}"):
        drawn_pictures(echo, np.arange(5), count, 0)
    with pytest.raises(UserError, match=f"the number of real pictures must be at least 1, got {count}"):
        dataset_pictures(numbered(5), count)
