"""Progress bars with the time left on the terminal, and silence anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")


def track(items: Iterable[Item], title: str, total: int, *, show: bool = True) -> Iterator[Item]:
    """Passes `items` through and draws how many of `total` are done on stderr, if that is a terminal."""
    if not (show and sys.stderr.isatty()):
        yield from items
        return
    with _bars() as bars:
        yield from bars.track(items, total=total, description=title)


@contextmanager
def report() -> Iterator[Callable[[str, int, int], None] | None]:
    """A function (what, done, total) that draws a bar for each `what`; None if stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    tasks: dict[str, TaskID] = {}
    with _bars() as bars:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
