"""Signals that ask a run to save and stop: Ctrl-C, or a scheduler's notice."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

# A scheduler sends SIGTERM or, with Slurm's --signal=USR1@120, SIGUSR1. Windows has no SIGUSR1.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopSignals:
    """Which signal asked the run to stop, if any.

    number: the signal that all processes know of, 0 without one.
    """

    def __init__(self, num_processes: int) -> None:
        self.number = 0
        self._received = 0  # by this process: a signal to another one must not make a first Ctrl-C here the second
        # A group of its own on the CPU: the exchange does not wait for the device.
        self._group = distributed.new_group(backend="gloo") if num_processes > 1 else None

    def receive(self, number: int, frame: object) -> None:
        """The signal handler; raises KeyboardInterrupt for a second SIGINT."""
        if self._received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self._received = number

    def asked(self) -> bool:
        """Whether any process was asked to stop. All must call it after each step; all get the same answer."""
        number = torch.tensor(self._received)
        if self._group is not None:
            distributed.all_reduce(number, distributed.ReduceOp.MAX, group=self._group)
        self.number = int(number.item())
        return self.number != 0


@contextmanager
def stop_signals(num_processes: int) -> Iterator[StopSignals]:
    """Inside, the signals ask for a checkpoint and an orderly end; a second SIGINT ends at once."""
    stop = StopSignals(num_processes)
    in_main = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
    before = {number: signal.signal(number, stop.receive) for number in STOP_SIGNALS} if in_main else {}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
