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
    images = np.broadcast_to(np.arange(10, dtype=np.uint8)[:, None, None, None], (10, 4, 4, 3)).copy()
    return ImageDataset(images, np.arange(10, dtype=np.int64) % 5, tuple("abcde"))


@pytest.mark.promise
def test_epoch_order_is_pinned_so_that_old_runs_resume_exactly():
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([5, 2])))
    np.testing.assert_array_equal(epoch_order(20, 2, 5), generator.permutation(20))


@pytest.mark.parametrize("num_items, batch_size", [(10, 4), (10, 5), (7, 10), (3, 11), (1, 2)])
def test_batches_cut_the_endless_concatenation_of_epochs(num_items, batch_size):
    endless = np.concatenate([epoch_order(num_items, epoch, 9) for epoch in range(60)])
    for step in range(5):
        expected = endless[step * batch_size : (step + 1) * batch_size]
        np.testing.assert_array_equal(batch_indices(num_items, step, batch_size, 9), expected)


@pytest.mark.promise
def test_every_epoch_visits_each_item_once():
    seen = np.concatenate([batch_indices(12, step, 8, 3) for step in range(6)])
    for epoch in range(4):
        assert sorted(seen[12 * epoch : 12 * (epoch + 1)]) == list(range(12))


@pytest.mark.promise
def test_a_late_step_needs_no_earlier_one():
    epoch_order.cache_clear()
    late = batch_indices(1000, 123_456, 64, 0)
    start = 123_456 * 64
    assert late[0] == epoch_order(1000, start // 1000, 0)[start % 1000]


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
            with pytest.raises(RuntimeError, match=f"step 2 failed: {said}$") as caught:
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
