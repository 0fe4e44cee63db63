"""Progress bars with the time left on the terminal, and silence anywhere else."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], title: str, total: int, *, show: bool = True) -> Iterator[Item]:
    """Passes `items` through and draws how many of `total` are done, as `progress` does."""
    with progress(title, total, show=show) as advance:
        for item in items:
            yield item
            advance(1)


@contextmanager
def progress(title: str, total: float, *, show: bool = True) -> Iterator[Callable[[float], object]]:
    """Draws on stderr, if that is a terminal, how much of `total` is done: what the given function was called with."""
    if not (show and sys.stderr.isatty()):
        yield lambda done: None
        return
    from rich import progress as rich
    from rich.console import Console

    name = rich.TextColumn("{task.description}", markup=False)
    columns = (name, rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeRemainingColumn())
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=total)
        yield lambda done: bars.advance(task, done)
