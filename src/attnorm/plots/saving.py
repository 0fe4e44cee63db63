"""Writing a figure: whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from attnorm.errors import UserError


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A name to write to, in the folder of `path`; it becomes `path` when the block ends without an error.

    Raises:
        UserError: an OSError in the block, the folder or the renaming; nothing new is left then.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error}") from error
    finally:
        if partial.is_file():
            partial.unlink()


def check_picture_name(path: Path) -> str:
    """The picture format that a file's name asks for.

    Raises:
        UserError: it is not one that can be written.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise UserError(f"{path}: the name must end in a picture format such as .png")
    return kind


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Writes a picture (h, w, 3) uint8; the format follows the file's name.

    Raises:
        UserError: the name's format is unknown, or the file cannot be written.
    """
    kind = check_picture_name(path)
    with written_aside(path) as partial:
        Image.fromarray(picture).save(partial, format=kind)
