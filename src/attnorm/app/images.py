"""Images that visitors send, images of a size for the screen, and files for them to keep."""

from __future__ import annotations

import base64
import io
import re
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from attnorm.data.builtin import example_images
from attnorm.data.compositing import EditableImage
from attnorm.data.decode import DecodeError, mask_from_image, open_upright
from attnorm.errors import UserError
from attnorm.pipelines.inpainting import SMALLEST_SIDE
from attnorm.plots import colour_layout, enlarge, entity_colours
from attnorm.plots.grids import resize

EXAMPLES, EXAMPLE_SIZE = 4, 256
SCREEN = 1024  # pixels of the longer side of what is shown and painted on
LARGE = 640  # pixels of the longer side that a small image is enlarged to, by a whole factor


def read_image(path: str | Path | None) -> EditableImage:
    """An uploaded image as it was sent.

    Raises:
        UserError: nothing was sent, or it is no image, damaged or too large.
    """
    try:
        return EditableImage(open_upright(_sent(path, "image")))
    except DecodeError as error:
        raise UserError(f"the image cannot be used: {error}") from error


def read_mask(path: str | Path | None) -> np.ndarray:
    """The pixels that an uploaded mask marks, (h, w) bool, see `attnorm.data.decode.mask_from_image`.

    Raises:
        UserError: as `read_image`.
    """
    try:
        return mask_from_image(open_upright(_sent(path, "mask")))
    except DecodeError as error:
        raise UserError(f"the mask cannot be used: {error}") from error


def for_screen(rgb: np.ndarray, most: int = SCREEN) -> np.ndarray:
    """An image (h, w, 3) uint8, scaled down if a side is longer than `most`, see `screen_size`."""
    size = screen_size(rgb.shape[:2], most)
    if size == rgb.shape[:2]:
        return rgb
    return np.asarray(Image.fromarray(rgb).resize(size[::-1], Image.Resampling.LANCZOS))


def screen_size(size: tuple[int, ...], most: int = SCREEN) -> tuple[int, int]:
    """(height, width) of what is shown of an image of this size; its shorter side is not scaled below what the
    networks can see.
    """
    scale = min(1.0, max(most / max(size), SMALLEST_SIDE / min(size)))
    return round(size[0] * scale), round(size[1] * scale)


def overlaid(image: np.ndarray, layout: np.ndarray, opacity: float) -> np.ndarray:
    """A layout (n, h', w') in its entities' colours over an image (h, w, 3) uint8, which is enlarged if it is small;
    opacity from 0 to 1.
    """
    image = enlarge(image[None], LARGE)[0]
    colours = resize(colour_layout(layout), image.shape[:2])
    return np.asarray(Image.blend(Image.fromarray(image), Image.fromarray(colours), float(np.clip(opacity, 0, 1))))


def overlay_file(image: np.ndarray, layout: np.ndarray, opacity: float) -> str:
    """`overlaid` as a `image_file`."""
    return image_file(overlaid(image, layout, opacity))


def legend(layout: np.ndarray) -> str:
    """HTML: each entity's colour, number and share of the pixels of a layout (n, h, w) or (b, n, h, w) by its argmax;
    the largest share first, and entities without a pixel counted at the end.
    """
    shares = shares_of(layout)
    colours = entity_colours(len(shares))
    order = np.argsort(-shares, kind="stable").tolist()
    keys = [entity_key(entity, shares[entity], colours[entity]) for entity in order if shares[entity] > 0]
    unused = int((shares == 0).sum())
    rest = f'<span class="entity">{unused} without a pixel</span>' if unused else ""
    return f'<div class="entities">{"".join(keys)}{rest}</div>'


def figures(tiles: Sequence[tuple[Sequence[np.ndarray], str]], smallest: int) -> str:
    """HTML: a grid of images (h, w, 3) uint8, those of one tile below one another, with a caption; as many side by
    side as have room at `smallest` pixels. Enlarged by repeating pixels, as everywhere in this project.
    """
    cells = []
    for parts, caption in tiles:
        tags = "".join(f'<img src="{_inline(part)}" alt="">' for part in parts)
        cells.append(f"<figure>{tags}<figcaption>{caption}</figcaption></figure>")
    return f'<div class="figures" style="--smallest:{smallest}px">{"".join(cells)}</div>'


def entity_key(entity: int, share: float, colour: np.ndarray) -> str:
    """HTML: an entity's colour, its number and its share."""
    red, green, blue = (int(part) for part in colour)
    patch = f'<i style="background:rgb({red},{green},{blue})"></i>'
    return f'<span class="entity">{patch}{entity}<b>{share:.0%}</b></span>'


def shares_of(layout: np.ndarray) -> np.ndarray:
    """The share (n,) of the positions of a layout (n, h, w) or (b, n, h, w) that each entity has by argmax."""
    winners = layout.argmax(-3)
    return np.bincount(winners.ravel(), minlength=layout.shape[-3]) / winners.size


def image_file(image: np.ndarray | Image.Image) -> str:
    """A PNG to show, in a file of its own. Gradio, given the image itself, writes it under a name made from its
    pixels, in place: the same image shown twice would be cut short for a browser that still reads the first.
    """
    file = file_named("image.png")
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file)
    return str(file)


def file_named(name: str) -> Path:
    """A file of this name in a new folder of its own, which Gradio may hand out."""
    return Path(tempfile.mkdtemp(dir=_gradio_folder())) / name


def stem_of(path: str) -> str:
    """The name of an uploaded file without its ending, for the names of files made from it."""
    return as_file_name(Path(path).stem)


def as_file_name(text: str) -> str:
    """A text without letters that are trouble in file names."""
    plain = unicodedata.normalize("NFKC", text)
    return re.sub(r"[^\w.]+", "-", plain).strip("-.")[:80] or "image"


def example_files(folder: Path) -> list[str]:
    """Crops of photographs to try the page with, as PNG files in `folder`."""
    files = []
    for index, example in enumerate(example_images(EXAMPLE_SIZE, EXAMPLES), 1):
        file = folder / f"example-{index}.png"
        Image.fromarray(example).save(file)
        files.append(str(file))
    return files


def _inline(image: np.ndarray) -> str:
    """An image as an address that holds it."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _sent(path: str | Path | None, what: str) -> Path:
    if not path:
        raise UserError(f"choose a {what} first")
    if not Path(path).is_file():
        raise UserError(f"the {what} is no longer here: open it again")
    return Path(path)


def _gradio_folder() -> str:
    from gradio.utils import get_upload_folder

    folder = get_upload_folder()
    Path(folder).mkdir(parents=True, exist_ok=True)
    return folder
