"""Which images a training step sees, and a thread that reads them ahead.

The order is a pure function of (number of images, seed, step): a resumed run sees exactly the batches that it would
have seen without the interruption, and nothing about the order has to be saved.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from attnorm.errors import UserError

Batch = tuple[np.ndarray, np.ndarray]

_ALIVE_CHECK_SECONDS = 1.0
_CLOSE_SECONDS = 5.0


class BatchSource(Protocol):
    """What a Prefetcher reads from: an ImageDataset or anything with its `batch`."""

    def batch(self, indices: np.ndarray) -> Batch: ...


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
    if num_items < 1 or batch_size < 1:
        raise ValueError(f"a batch needs items and a size, not {batch_size} out of {num_items}")
    position, end = step * batch_size, (step + 1) * batch_size
    pieces = []
    while position < end:
        epoch, offset = divmod(position, num_items)
        piece = epoch_order(num_items, epoch, seed)[offset : offset + end - position]
        pieces.append(piece)
        position += len(piece)
    return np.concatenate(pieces)


class _Failure(NamedTuple):
    """What the reading thread puts into the queue when it cannot go on."""

    step: int
    error: BaseException


class Prefetcher:
    """Reads the batches of steps `start`, `start + 1`, … ahead in one daemon thread.

    Close it, or use it as a context manager, to end the thread.

    Args:
        dataset: its `batch(indices)` is called in the thread, never by two threads at once.
        indices: maps a step to the items of its batch, for instance a partial of `batch_indices`.
        depth: how many batches may wait in the queue, at least 1.
    """

    def __init__(
        self, dataset: BatchSource, indices: Callable[[int], np.ndarray], start: int = 0, depth: int = 2
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth}")
        self._dataset = dataset
        self._indices = indices
        self._queue: queue.Queue[Batch | _Failure] = queue.Queue(maxsize=depth)
        self._failure: _Failure | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read_ahead, args=(start,), name="prefetch", daemon=True)
        self._thread.start()

    def next(self) -> Batch:
        """The next batch: images (B, S, S, 3) uint8 and labels (B,) int64.

        Raises:
            RuntimeError: reading it failed (the original exception is its cause), the thread has died, or the
                prefetcher is closed.
        """
        if self._stop.is_set():
            raise RuntimeError("the prefetcher is closed")
        if self._failure is None:
            item = self._take()
            if not isinstance(item, _Failure):
                return item
            self._failure = item
        error = self._failure.error
        reason = error if isinstance(error, UserError) else repr(error)
        raise RuntimeError(f"reading the batch of step {self._failure.step} failed: {reason}") from error

    def close(self) -> None:
        """Ends the thread after the batch that it is reading. Closing twice is harmless."""
        self._stop.set()
        self._drain()  # frees the thread if it waits for room: it has at most one batch left to put
        self._thread.join(timeout=_CLOSE_SECONDS)
        self._drain()

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _read_ahead(self, step: int) -> None:
        try:
            while not self._stop.is_set():
                self._queue.put(self._dataset.batch(self._indices(step)))
                step += 1
        except BaseException as error:  # whatever ends this thread must reach the consumer
            self._queue.put(_Failure(step, error))

    def _take(self) -> Batch | _Failure:
        while True:
            try:
                return self._queue.get(timeout=_ALIVE_CHECK_SECONDS)
            except queue.Empty:
                # The thread may have put its last batch just after the timeout, hence the second look.
                if not self._thread.is_alive() and self._queue.empty():
                    raise RuntimeError("the thread that reads the images has died: resume the run") from None

    def _drain(self) -> None:
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                return
