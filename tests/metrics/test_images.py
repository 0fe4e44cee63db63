"""Which images are compared: a random part of a set, and what a generator draws."""

import numpy as np
import pytest
import torch

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError
from attnorm.metrics.images import (
    DRAW_BLOCK,
    drawn_images,
    drawn_images_of_class,
    drawn_labels,
    real_images,
    real_images_of_class,
)


def numbered(count):
    """A set whose image i is all i, of class i % 3."""
    images = (np.arange(count) % 256).astype(np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2)
    return ImageDataset(images.repeat(3, 3), np.arange(count) % 3, ("a", "b", "c"))


def everything(images):
    return images.read(0, images.count)


def echo(labels, seed):
    """A generator that draws its label, its place in the block and the seed, a pixel each."""
    images = np.zeros((len(labels), 2, 2, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0], images[:, 1, 0, 0] = labels, np.arange(len(labels)), seed % 251
    return images


@pytest.mark.parametrize("count", [None, 300, 1000])
def test_all_images_are_read_in_order(count):
    data = numbered(300)
    images = real_images(data, count)
    assert images.count == 300
    assert np.array_equal(everything(images).permute(0, 2, 3, 1), data.images)
    assert np.array_equal(images.labels, data.labels)
    assert torch.equal(images.read(250, 270), everything(images)[250:270])


def test_a_random_part_has_each_image_once_with_its_label():
    parts = [everything(real_images(numbered(200), 50, seed))[:, 0, 0, 0].long().numpy() for seed in (1, 1, 2)]
    assert len(set(parts[0])) == 50
    assert parts[0].max() > 100  # not the first ones
    assert np.array_equal(real_images(numbered(200), 50, 1).labels, parts[0] % 3)
    assert np.array_equal(parts[0], parts[1]) and not np.array_equal(parts[0], parts[2])


def test_the_images_of_a_class_are_all_of_it():
    images = real_images_of_class(numbered(20), 2)
    assert everything(images)[:, 0, 0, 0].tolist() == [2, 5, 8, 11, 14, 17]
    assert set(images.labels) == {2}


def test_the_identity_is_of_the_chosen_images_and_their_labels():
    data = numbered(200)
    same = real_images(data, 50).identity
    assert real_images(numbered(200), 50).identity == same
    relabelled = ImageDataset(data.images, (data.labels + 1) % 3, data.class_names)
    retouched = ImageDataset(data.images ^ 1, data.labels, data.class_names)
    others = [real_images(data), real_images(data, 49), real_images(data, 50, 1)]
    others += [real_images(relabelled, 50), real_images(retouched, 50)]
    assert all(other.identity != same for other in others)
    assert real_images(data, None, 0).identity == real_images(data, 200, 5).identity


def test_labels_come_in_rounds_that_are_each_shuffled():
    labels = drawn_labels(np.arange(20), 60, seed=3)
    rounds = labels.reshape(3, 20).tolist()
    assert all(sorted(one) == list(range(20)) for one in rounds)
    assert rounds[0] != rounds[1] != rounds[2]
    assert labels.tolist() != drawn_labels(np.arange(20), 60, seed=4).tolist()
    assert labels[:33].tolist() == drawn_labels(np.arange(20), 33, seed=3).tolist()
    assert np.bincount(drawn_labels(np.array([0, 0, 0, 2]), 400, seed=0)).tolist() == [300, 0, 100]


def test_an_image_depends_on_its_position_and_the_seed_alone():
    few, many = (drawn_images(echo, np.arange(5), count, 7) for count in (70, 333))
    assert torch.equal(everything(few), everything(many)[:70])
    assert torch.equal(many.read(45, 101), everything(many)[45:101])
    assert np.array_equal(everything(many)[:, 0, 0, 0], many.labels)
    assert np.array_equal(everything(many)[:, 0, 0, 1], np.arange(333) % DRAW_BLOCK)
    assert not torch.equal(everything(many), everything(drawn_images(echo, np.arange(5), 333, 8)))
    assert many.identity is None


def test_blocks_and_classes_have_seeds_of_their_own_that_a_pipeline_takes():
    seeds = []

    def draw(labels, seed):
        seeds.append(seed)
        return echo(labels, seed)

    everything(drawn_images(draw, np.arange(5), 40 * DRAW_BLOCK, (1 << 63) - 1))
    for label in (0, 1):
        assert set(everything(drawn_images_of_class(draw, label, 2 * DRAW_BLOCK, 0))[:, 0, 0, 0].tolist()) == {label}
    assert len(set(seeds)) == 44
    assert all(0 <= seed < 1 << 63 for seed in seeds)


@pytest.mark.parametrize("count", [0, -3])
def test_no_images_are_refused(count):
    with pytest.raises(UserError, match=f"the number of generated images must be at least 1, got {count}"):
        drawn_images(echo, np.arange(5), count, 0)
    with pytest.raises(UserError, match=f"the number of real images must be at least 1, got {count}"):
        real_images(numbered(5), count)
