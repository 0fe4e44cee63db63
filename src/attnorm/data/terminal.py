"""What a person reads on the terminal: counts, tables, and progress bars, which are silent anywhere else."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


def table(rows: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """Rows, the first one the head, in aligned columns; in plain text, columns of numbers are flush right."""
    columns = []
    for head, *cells in zip(*rows, strict=True):
        width = max(map(len, (head, *cells)))
        is_number = not markdown and all(cell[:1].isdigit() or cell in ("", "–") for cell in cells)
        columns.append([cell.rjust(width) if is_number else cell.ljust(width) for cell in (head, *cells)])
    lines = list(zip(*columns, strict=True))
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in lines)
    rule = "|".join("-" * (len(cell) + 2) for cell in lines[0])
    head, *others = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, f"|{rule}|", *others])


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
