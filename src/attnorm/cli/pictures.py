"""Reading the pictures and masks that a person named."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attnorm.data.compositing import EditableImage
from attnorm.data.decode import DecodeError, mask_from_image, open_upright

REMEDY = "give another file"


def read_picture(path: Path) -> EditableImage:
    """A picture to be completed.

    Raises:
        DecodeError: it cannot be read; the message has the reason and the remedy, without the name.
    """
    try:
        return EditableImage(open_upright(path))
    except DecodeError as error:
        raise DecodeError(f"{error}: {REMEDY}") from error


def read_mask(path: Path) -> np.ndarray:
    """The pixels that a mask marks, (h, w) bool.

    Raises:
        DecodeError: it cannot be read; the message has its name, the reason and the remedy.
    """
    try:
        return mask_from_image(open_upright(path))
    except DecodeError as error:
        raise DecodeError(f"the mask {path}: {error}: {REMEDY}") from error
