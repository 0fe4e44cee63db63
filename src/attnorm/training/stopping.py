"""Signals that ask a run to save and leave: Ctrl-C, a scheduler's notice, a machine that is to be given back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

# A scheduler that wants the machine back sends SIGTERM or, as Slurm's --signal=USR1@120, SIGUSR1 some time before.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)  # Windows has no SIGUSR1


class StopSignals:
    """Which signal asked the run to stop, if any."""

    def __init__(self, num_processes: int) -> None:
        self._several = num_processes > 1
        self._received = 0  # by this process: what another was sent must not make a first Ctrl-C here a second
        self._agreed = 0  # known to all processes
        # A group of its own on the CPU: what it says needs no wait for the device.
        self._group = distributed.new_group(backend="gloo") if self._several else None
        self._asked: tuple[Tensor, distributed.Work] | None = None

    @property
    def number(self) -> int:
        """The signal that all processes know of, 0 without one."""
        return self._agreed if self._several else self._received

    def receive(self, number: int) -> None:
        """Notes that this process was sent a signal; raises KeyboardInterrupt for a second SIGINT."""
        if self._received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self._received = number

    def asked(self) -> bool:
        """Whether any process was asked; all get the same answer in the same step, so that none waits for ever.

        With several processes the answer is that of one step before: the question travels while a step is computed,
        and no step waits for it. All processes must ask after each step.
        """
        self.settle()
        if self._several and not self._agreed:
            number = torch.tensor(self._received)
            work = distributed.all_reduce(number, distributed.ReduceOp.MAX, group=self._group, async_op=True)
            self._asked = number, work
        return self.number != 0

    def settle(self) -> None:
        """Waits for the last answer."""
        if self._asked is not None:
            number, work = self._asked
            work.wait()
            self._asked = None
            self._agreed = int(number.item())


@contextmanager
def stop_signals(num_processes: int) -> Iterator[StopSignals]:
    """Inside, the signals ask for a checkpoint and an orderly end; a second SIGINT ends at once."""
    stop = StopSignals(num_processes)

    def ask(number: int, frame: object) -> None:
        stop.receive(number)

    in_main = threading.current_thread() is threading.main_thread()  # no other thread may set handlers
    before = {number: signal.signal(number, ask) for number in STOP_SIGNALS} if in_main else {}
    try:
        yield stop
        stop.settle()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
