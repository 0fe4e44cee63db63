"""The open images of the page, uploaded and completed, each with an unguessable id."""

import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from attnorm.app.images import as_file_name, file_named, read_image, usable
from attnorm.data.compositing import EditableImage
from attnorm.errors import UserError

DAY = 24 * 3600  # seconds until an image is deleted
MOST_BYTES = 4 << 30  # of all images together; the oldest are deleted to stay below
# Formats of downloads: file extension and options. Only JPEG is lossy. A compressed TIFF cannot hold the EXIF block.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": (".png", {}),
    "TIFF": (".tif", {}),
    "WEBP": (".webp", {"lossless": True, "exact": True}),
    "JPEG": (".jpg", {"quality": 95, "subsampling": 0}),
}
WRITABLE = {"JPEG": ("RGB", "L"), "WEBP": ("RGB", "RGBA")}  # modes; other formats take all modes of an EditableImage

# TIFF tags that describe how the upload stores its pixels.
TIFF_STRUCTURE = (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 338, 339, 34675)


@dataclass(frozen=True)
class StoredImage:
    """An image, whose pixels are in an uncompressed file because it opens fast.

    name: the stem of the uploaded file's. size: (height, width). format: the upload's, a key of `FORMATS`.
    """

    id: str
    pixels: Path
    opened: float
    name: str
    size: tuple[int, int]
    format: str
    exif: bytes
    profile: bytes | None

    def load(self) -> EditableImage:
        """The image with its current pixels: uploaded or completed."""
        image = EditableImage(Image.fromarray(np.load(self.pixels)))
        image.profile = self.profile
        return image

    def save(self, format: str) -> Path:
        """Writes a file to download, with the upload's EXIF and colour profile; lossless except for JPEG."""
        if format not in ("PNG", self.format):
            raise UserError(f"this image can be saved as PNG{'' if self.format == 'PNG' else f' or {self.format}'}")
        ending, options = FORMATS[format]
        file = file_named(f"{self.name}{ending}")
        image = _own_pixels(self.load())
        image.save(file, format, exif=self.exif, icc_profile=self.profile, **options)
        return file


class Store:
    """The open images by id."""

    def __init__(self) -> None:
        self._images: dict[str, StoredImage] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def open(self, content: bytes, file_name: str) -> tuple[StoredImage, EditableImage]:
        """Stores an upload; UserError if it is not an image, or it is damaged or too large."""
        decoded = read_image(content)
        format = "JPEG" if decoded.format == "MPO" else str(decoded.format)
        exif = decoded.getexif()
        for tag in TIFF_STRUCTURE:
            exif.pop(tag, None)
        with usable("image"):
            image = EditableImage(decoded)
        own = _own_pixels(image)
        keeps = format in FORMATS and own.mode in WRITABLE.get(format, (own.mode,)) and not image.is_reduced
        name = as_file_name(Path(file_name).stem)
        return self._keep(own, name, format if keeps else "PNG", exif.tobytes(), image.profile), image

    def add(self, image: Image.Image, source: StoredImage) -> StoredImage:
        """Stores the completed version of `source`."""
        name = source.name if source.name.endswith("-completed") else f"{source.name}-completed"
        return self._keep(image, name, source.format, source.exif, source.profile)

    def __getitem__(self, id: str) -> StoredImage:
        """Raises a UserError if there is no such image, or it has expired."""
        if id not in self._images:
            raise UserError("this image is no longer on the server: open it again")
        return self._images[id]

    def _keep(self, image: Image.Image, name: str, format: str, exif: bytes, profile: bytes | None) -> StoredImage:
        pixels = np.asarray(image)
        file = file_named("pixels.npy")
        np.save(file, pixels)
        id, now = secrets.token_urlsafe(16), time.time()
        stored = StoredImage(id, file, now, name, pixels.shape[:2], format, exif, profile)
        with self._lock:
            self._images[id] = stored
            self._bytes += file.stat().st_size
            while self._bytes > MOST_BYTES or next(iter(self._images.values())).opened < now - DAY:
                oldest = self._images.pop(next(iter(self._images)))
                self._bytes -= oldest.pixels.stat().st_size
                oldest.pixels.unlink()
        return stored


def _own_pixels(image: EditableImage) -> Image.Image:
    return image.composite(image.rgb, np.zeros(image.size, bool))
