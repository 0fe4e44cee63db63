"""Reading the pictures and masks that a person named."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attnorm.data.decode import DecodeError, marked, open_upright
from attnorm.data.editable import EditablePicture

REMEDY = "give another file"


def read_picture(path: Path) -> EditablePicture:
    """A picture to be completed.

    Raises:
        DecodeError: it cannot be read; the message has the reason and the remedy, without the name.
    """
    try:
        return EditablePicture(open_upright(path))
    except DecodeError as error:
        raise DecodeError(f"{error}: {REMEDY}") from error


def read_mask(path: Path) -> np.ndarray:
    """The pixels that a mask marks, (h, w) bool.

    Raises:
        DecodeError: it cannot be read; the message has its name, the reason and the remedy.
    """
    try:
        return marked(open_upright(path))
    except DecodeError as error:
        raise DecodeError(f"the mask {path}: {error}: {REMEDY}") from error
