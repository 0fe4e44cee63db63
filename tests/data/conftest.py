"""What tests of data share."""

import io

import numpy as np
import pytest
from PIL import Image


def noise(width, height, channels=3, seed=0):
    """(height, width, channels) uint8, or (height, width) without channels."""
    shape = (height, width, channels) if channels else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(image, kind="png", **options):
    """The bytes of the file of an image."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def raw(tmp_path):
    """A folder of two classes, of 12 differently shaped images each, with a corrupt, an empty and a cut-off file."""
    folder = tmp_path / "raw"
    for index in range(24):
        file = folder / ("cat" if index % 2 else "dog") / f"{index:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(20 + index, 60 - index // 2, seed=index)).save(file)
    (folder / "cat/corrupt.png").write_bytes(b"not an image")
    (folder / "dog/empty.jpg").write_bytes(b"")
    (folder / "dog/cut.png").write_bytes((folder / "dog/00.png").read_bytes()[:400])
    return folder
