"""Writing a figure: whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from attnorm.errors import UserError
from attnorm.files import output_file


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
    with output_file(path) as partial:
        Image.fromarray(picture).save(partial, format=kind)
