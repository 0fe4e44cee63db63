"""Progress bars with the time left on the terminal, and silence anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")


def track(items: Iterable[Item], title: str, total: int, *, show: bool = True) -> Iterator[Item]:
    """Passes `items` through and draws how many of `total` are done on stderr, if that is a terminal."""
    if not (show and sys.stderr.isatty()):
        yield from items
        return
    with _bars() as bars:
        yield from bars.track(items, total=total, description=title)


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
