"""What to say when a figure needs a package that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attnorm.errors import UserError


@contextmanager
def from_extra(what: str) -> Iterator[None]:
    """Around the import of what only the extra `figures` brings: `what` is the thing that needs it.

    Raises:
        UserError: the package is missing; names the command that installs it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise UserError(f"{what} needs the package {package!r}: pip install 'attnorm[figures]'") from error
