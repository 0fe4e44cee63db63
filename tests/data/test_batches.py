"""The stateless sampler and the thread that reads ahead."""

import threading
from functools import partial

import numpy as np
import pytest

from attnorm.data.batches import Prefetcher, batch_indices, epoch_order
from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError


@pytest.fixture
def dataset():
    """Ten images whose pixels are their number, which is their label modulo 5 as well."""
    images = np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2).repeat(3, 3)
    return ImageDataset(images, np.arange(10) % 5, tuple("abcde"))


@pytest.mark.promise
def test_epoch_order_is_pinned_so_that_old_runs_resume_exactly():
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([5, 2])))
    np.testing.assert_array_equal(epoch_order(20, 2, 5), generator.permutation(20))


@pytest.mark.promise
@pytest.mark.parametrize("num_items, batch_size", [(10, 4), (10, 5), (7, 10), (3, 11), (1, 2)])
@pytest.mark.parametrize("start", [0, 100_000])
def test_batches_cut_the_endless_concatenation_of_epochs(num_items, batch_size, start):
    """Each epoch visits each item once, and a late step needs no earlier one."""
    first, skipped = divmod(start * batch_size, num_items)
    epoch_order.cache_clear()
    found = np.concatenate([batch_indices(num_items, step, batch_size, 9) for step in range(start, start + 5)])
    orders = [epoch_order(num_items, epoch, 9) for epoch in range(first, first + 60)]
    assert all(sorted(order) == list(range(num_items)) for order in orders)
    np.testing.assert_array_equal(found, np.concatenate(orders)[skipped : skipped + len(found)])


def test_prefetcher_gives_the_batches_of_its_steps_in_order(dataset):
    indices = partial(batch_indices, 10, batch_size=4, seed=1)
    with Prefetcher(dataset, indices, start=3) as prefetcher:
        for step in range(3, 20):
            images, labels = prefetcher.next()
            assert images.shape == (4, 4, 4, 3) and images.dtype == np.uint8
            np.testing.assert_array_equal(images[:, 0, 0, 0], indices(step))
            np.testing.assert_array_equal(labels, indices(step) % 5)


def test_prefetcher_reads_no_further_ahead_than_its_depth(dataset):
    asked = []

    def indices(step):
        asked.append(step)
        return np.array([0])

    with Prefetcher(dataset, indices, depth=3) as prefetcher:
        prefetcher.next()
        prefetcher._waiting[-1].result()
        assert asked == [0, 1, 2, 3]  # one taken, three waiting


@pytest.mark.parametrize(
    ("error", "said"),
    [(FileNotFoundError("gone"), r"FileNotFoundError\('gone'\)"), (UserError("a sentence"), "a sentence")],
)
def test_prefetcher_reraises_with_its_cause_after_the_good_batches(error, said, dataset):
    def indices(step):
        if step == 2:
            raise error
        return np.array([step])

    with Prefetcher(dataset, indices) as prefetcher:
        assert [int(prefetcher.next()[1][0]) for _ in range(2)] == [0, 1]
        for _ in range(2):  # asking again must not hang
            with pytest.raises(RuntimeError, match=f"batch 2 could not be read: {said}$") as caught:
                prefetcher.next()
            assert caught.value.__cause__ is error


def test_close_ends_the_thread(dataset):
    prefetcher = Prefetcher(dataset, lambda step: np.array([0]), depth=1)
    prefetcher.next()
    prefetcher.close()
    prefetcher.close()
    assert not any(thread.name.startswith("prefetch") for thread in threading.enumerate())
    with pytest.raises(RuntimeError):
        prefetcher.next()
