"""Uploaded images, images as HTML scaled for the screen, and files to download."""

import base64
import io
import re
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from attnorm.app.model_list import WITH_LAYOUT
from attnorm.data.decode import DecodeError, mask_from_image, open_upright, to_rgb
from attnorm.errors import UserError
from attnorm.pipelines.inpainting import NATIVE_SIDE, SMALLEST_SIDE, InpaintingPipeline
from attnorm.plots import colour_layout, entity_colours
from attnorm.plots.layouts import shares_of

WEB = Path(__file__).parent / "web"
SCREEN = 2048  # longest side of shown images, in pixels
LOSSLESS = 1 << 20  # pixels; larger images are shown as JPEG, which takes a tenth of the time of PNG
THUMBNAIL = 160  # side of an example's thumbnail
MOST_LAYOUT = 1 << 23  # pixels that the network processes for a layout


def web_file(*names: str) -> str:
    """The joined text of files in web/."""
    return "\n".join((WEB / name).read_text("utf-8") for name in names)


def read_image(source: bytes | str | Path | None) -> Image.Image:
    """An uploaded image, upright, from its bytes or file; UserError if it is missing, damaged or too large."""
    with usable("image"):
        return open_upright(_sent(source, "image"))


def read_rgb(source: bytes | str | Path | None) -> np.ndarray:
    """As `read_image`, as pixels (h, w, 3) uint8, with transparent parts over white."""
    with usable("image"):
        return np.asarray(to_rgb(read_image(source)))


def read_mask(source: bytes | str | Path | None) -> np.ndarray:
    """An uploaded mask (h, w) bool: see `mask_from_image`; UserError as `read_image`."""
    with usable("mask"):
        return mask_from_image(open_upright(_sent(source, "mask")))


@contextmanager
def usable(what: str) -> Iterator[None]:
    """Turns a DecodeError into a UserError that names the image or mask."""
    try:
        yield
    except DecodeError as error:
        raise UserError(f"the {what} cannot be used: {error}") from error


def for_screen(rgb: np.ndarray, most: int = SCREEN) -> np.ndarray:
    """An image (h, w, 3) uint8, scaled down if a side is longer than `most`, but to no side below `SMALLEST_SIDE`."""
    height, width = rgb.shape[:2]
    scale = max(most / max(height, width), SMALLEST_SIDE / min(height, width))
    if scale >= 1:
        return rgb
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, reducing_gap=2))


def layout_of(pipe: InpaintingPipeline, image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """The layout (n, h', w') of a whole image (h, w, 3) uint8, scaled down if a side is longer than 512 pixels.

    The mask is (h, w) bool. Raises a UserError if the network has no attentive normalization, or the image is too small
    or far too long.
    """
    if pipe.generator.config.branch.kind != WITH_LAYOUT:
        raise UserError("this model has no attentive normalization, so it has no layout: choose one marked AN")
    small = for_screen(image, NATIVE_SIDE)
    height, width = small.shape[:2]
    missing = np.zeros((height, width), bool)
    if mask is not None:  # a pixel is missing if half of its cell is
        area = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
        missing = np.asarray(area) >= 128
    if pipe.plan(missing, "native").pixels > MOST_LAYOUT:  # which also checks the image's size
        raise UserError("the image is too long and narrow to go through the network whole: crop it")
    [layout] = pipe.stages(small[None], missing[None]).layouts.values()  # the attentive branch has one layer
    return layout[0]


def overlay(image: np.ndarray, layout: np.ndarray) -> str:
    """HTML: a layout (n, h', w') in colour over an image (h, w, 3) uint8, and a slider for its opacity."""
    words = "The layout: at each position the colour of the entity with the largest weight"
    over = f'<img src="{as_data_url(colour_layout(layout))}" alt="{words}">'
    slider = '<label class="under">Opacity of the layout <input type="range" min="0" max="100" value="55"></label>'
    return f'<div class="overlay"><img src="{view_of(image)}" alt="The image">{over}</div>{slider}'


def thumbnails(examples: Sequence[np.ndarray]) -> str:
    """HTML: a button for each example."""
    buttons = [
        f'<button type="button" data-example="{index}"><img src="{view_of(for_screen(example, THUMBNAIL))}" '
        f'alt="Example {index + 1}"></button>'
        for index, example in enumerate(examples)
    ]
    return f'<div class="examples">{"".join(buttons)}</div>'


def film(frames: Sequence[np.ndarray], first: str, second: str) -> str:
    """HTML: the frames (h, w, 3) uint8 of an interpolation and a slider; `first` and `second` are HTML too."""
    shown = "".join(
        f'<img src="{as_data_url(frame)}" alt="Step {step} of {len(frames)}"{" hidden" if step > 1 else ""}>'
        for step, frame in enumerate(frames, 1)
    )
    slider = f'<input type="range" min="0" max="{len(frames) - 1}" value="0" aria-label="From {first} to {second}">'
    play = '<button type="button">Play or pause</button>'
    return f'<div class="film">{shown}</div><div class="under">{first} {slider} {second} {play}</div>'


def legend(layout: np.ndarray) -> str:
    """HTML: the entities of a layout, as in `shares_of`, by decreasing share; those without a pixel are counted."""
    shares = shares_of(layout)
    colours = entity_colours(len(shares))
    order = np.argsort(-shares, kind="stable").tolist()
    keys = [entity_key(entity, shares[entity], colours[entity]) for entity in order if shares[entity] > 0]
    unused = int((shares == 0).sum())
    rest = f'<span class="entity">{unused} without a pixel</span>' if unused else ""
    return f'<div class="entities">{"".join(keys)}{rest}</div>'


def figures(tiles: Sequence[tuple[Sequence[np.ndarray], str, Sequence[str]]], smallest: int) -> str:
    """HTML: a grid of tiles, each at least `smallest` pixels wide. A tile has images (h, w, 3) uint8 below one another,
    a caption as HTML, and an alternative text for each image.
    """
    cells = []
    for parts, caption, words in tiles:
        tags = "".join(f'<img src="{as_data_url(part)}" alt="{alt}">' for part, alt in zip(parts, words, strict=True))
        cells.append(f"<figure>{tags}<figcaption>{caption}</figcaption></figure>")
    return f'<div class="figures" style="--smallest:{smallest}px">{"".join(cells)}</div>'


def entity_key(entity: int, share: float, colour: np.ndarray) -> str:
    """HTML: an entity's colour, number and share."""
    red, green, blue = (int(part) for part in colour)
    patch = f'<i style="background:rgb({red},{green},{blue})"></i>'
    percent = "&lt;1%" if 0 < share <= 0.005 else f"{share:.0%}"  # "0%" would be that of no pixel
    return f'<span class="entity">{patch}{entity}<b>{percent}</b></span>'


def encoded(image: np.ndarray, lossless: bool = True) -> bytes:
    """An image or a mask as PNG, compressed for speed, or as JPEG."""
    file, pil = io.BytesIO(), Image.fromarray(image)
    if lossless:
        pil.save(file, "PNG", compress_level=1)
    else:
        pil.save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue()


def as_data_url(image: np.ndarray, lossless: bool = True) -> str:
    """An image or a mask as a data URL."""
    content = base64.b64encode(encoded(image, lossless)).decode()
    return f"data:image/{'png' if lossless else 'jpeg'};base64,{content}"


def view_of(rgb: np.ndarray) -> str:
    """An image (h, w, 3) uint8, scaled for the screen, as a data URL."""
    shown = for_screen(rgb)
    return as_data_url(shown, lossless=shown.shape[0] * shown.shape[1] <= LOSSLESS)


def file_named(name: str) -> Path:
    """The path of a new file of this name, in a folder that Gradio may serve."""
    from gradio.utils import get_upload_folder

    folder = get_upload_folder()
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder)) / name


def as_file_name(text: str) -> str:
    """A text without characters that are unsafe in file names."""
    plain = unicodedata.normalize("NFKC", text)
    return re.sub(r"[^\w.]+", "-", plain).strip("-.")[:80] or "image"


def _sent(source: bytes | str | Path | None, what: str) -> bytes | Path:
    if isinstance(source, bytes):
        return source
    if not source:
        raise UserError(f"choose a {what} first")
    if not Path(source).is_file():
        raise UserError(f"the {what} has expired: open it again")
    return Path(source)
