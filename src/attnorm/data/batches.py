"""The order of images in training, and a thread that reads batches ahead.

The order is a pure function of (number of images, seed, step), so a resumed run sees the same batches as an undisturbed
one, and the order need not be saved.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import numpy as np

from attnorm.data.dataset import ImageDataset
from attnorm.errors import UserError

Batch = tuple[np.ndarray, np.ndarray]


@lru_cache(maxsize=4)  # steps within an epoch share its order; a batch may straddle two or more epochs
def epoch_order(num_items: int, epoch: int, seed: int) -> np.ndarray:
    """The order of one epoch: a read-only permutation (num_items,) int64 of 0..num_items-1."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    order = generator.permutation(num_items)
    order.setflags(write=False)
    return order


def batch_indices(num_items: int, step: int, batch_size: int, seed: int) -> np.ndarray:
    """The items of batch `step` (from 0): (batch_size,) int64 in 0..num_items-1.

    The batches cut the endless concatenation of the epochs' permutations into pieces of `batch_size`: every epoch
    visits each item exactly once and no item is dropped. `batch_size` may exceed `num_items`.
    """
    position, end = step * batch_size, (step + 1) * batch_size
    pieces = []
    while position < end:
        epoch, offset = divmod(position, num_items)
        piece = epoch_order(num_items, epoch, seed)[offset : offset + end - position]
        pieces.append(piece)
        position += len(piece)
    return np.concatenate(pieces)


class Prefetcher(AbstractContextManager["Prefetcher"]):
    """Reads the batches `start`, `start + 1`, … ahead in one thread, which `close` ends.

    Args:
        indices: maps the number of a batch to its items, such as a partial of `batch_indices`.
        depth: how many batches are read ahead, at least 1.
        prepare: called as `prepare(number, batch)` in the thread; its result replaces the batch.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        indices: Callable[[int], np.ndarray],
        start: int = 0,
        depth: int = 2,
        prepare: Callable[[int, Batch], Any] = lambda number, batch: batch,
    ) -> None:
        self._read = lambda number: prepare(number, dataset.batch(indices(number)))
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._number = start
        self._waiting = deque(self._pool.submit(self._read, number) for number in range(start, start + depth))

    def next(self) -> Any:
        """The next batch, as `prepare` returned it. Raises a RuntimeError, with its cause, if reading failed."""
        try:
            batch = self._waiting[0].result()
        except Exception as error:  # stays first in the queue, so that another call raises it too
            reason = error if isinstance(error, UserError) else repr(error)
            raise RuntimeError(f"batch {self._number} could not be read: {reason}") from error
        self._waiting.append(self._pool.submit(self._read, self._number + len(self._waiting)))
        self._waiting.popleft()
        self._number += 1
        return batch

    def close(self) -> None:
        """Ends the thread after the batch that it is reading."""
        self._pool.shutdown(cancel_futures=True)

    def __exit__(self, *exception: object) -> None:
        self.close()
