"""One visitor's image with its mask: what the editor shows of it, and the image completed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import numpy as np
from PIL import Image

from attnorm.app.images import SCREEN, for_screen, read_image, read_mask, screen_size
from attnorm.app.masks import as_layer, changed_by, painted, reduced, resized
from attnorm.app.model_list import WITH_LAYOUT
from attnorm.data.compositing import EditableImage, check_mask
from attnorm.data.decode import DecodeError
from attnorm.errors import UserError
from attnorm.pipelines.inpainting import NATIVE_SIDE, InpaintingPipeline, Mode, Stage

LIMIT = 1 << 23  # pixels of one visitor's image that go through the network at once
STAGES: tuple[str, ...] = get_args(Stage)
EditorValue = dict[str, Any]


@dataclass(frozen=True)
class Canvas:
    """An image in the editor, which shows it scaled down if it is large.

    path, name: of the file as it was uploaded; the editor's own copy of the image is never used.
    size: (height, width) of the image.
    mask: (height, width) bool, the mask at full size that came from a file, from growing or from shrinking.
    shown: the same as the editor got it, by which strokes since then are with_errors.
    """

    path: str
    name: str
    size: tuple[int, int]
    mask: np.ndarray | None = None
    shown: np.ndarray | None = None


class Completed(NamedTuple):
    """image: the whole one, every known pixel as it was. before, after: (h, w, 3) uint8, for the screen; `mask` is
    theirs, (h, w) bool. report: what was done, a sentence.
    """

    image: Image.Image
    profile: bytes | None
    before: np.ndarray
    after: np.ndarray
    mask: np.ndarray
    report: str


def open_canvas(path: str | None, name: str | None = None) -> tuple[Canvas, EditorValue]:
    """An image as it comes into the editor; its own transparent pixels are the mask at first."""
    image = read_image(path)
    assert path is not None  # read_image would have said so
    canvas = Canvas(path, name or Path(path).name, image.size)
    transparent = _transparent(image)
    if transparent is not None:
        return with_mask(canvas, transparent, image)
    return canvas, _value(image, None)


def with_mask(canvas: Canvas, mask: np.ndarray, image: EditableImage | None = None) -> tuple[Canvas, EditorValue]:
    """The canvas with this mask, (h, w) bool of the image's size, in place of what was painted."""
    shown = reduced(mask, screen_size(canvas.size))
    return replace(canvas, mask=mask, shown=shown), _value(image or read_image(canvas.path), shown)


def with_nothing_marked(canvas: Canvas) -> tuple[Canvas, EditorValue]:
    """The canvas without its mask: nothing of what was painted or came from a file is left."""
    return replace(canvas, mask=None, shown=None), _value(read_image(canvas.path), None)


def with_mask_file(canvas: Canvas | None, path: str | None) -> tuple[Canvas, EditorValue]:
    """The canvas with an uploaded mask; one of another size but the same proportions is scaled to the image."""
    canvas = opened(canvas)
    mask = read_mask(path)
    (height, width), (rows, columns) = canvas.size, mask.shape
    if abs(height * columns - width * rows) > max(height, width):  # one pixel of rounding
        raise UserError(
            f"the mask is {columns}×{rows} and the image {width}×{height}: give a mask of the image's proportions"
        )
    try:
        return with_mask(canvas, check_mask(mask, canvas.size, resize=True))
    except DecodeError as error:
        raise UserError(str(error)) from error


def with_changed_mask(canvas: Canvas | None, value: EditorValue | None, pixels: int) -> tuple[Canvas, EditorValue]:
    """The canvas with its mask grown, or shrunk, by so many of the image's pixels."""
    canvas = opened(canvas)
    return with_mask(canvas, changed(mask_of(canvas, value), pixels))


def changed(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask (h, w) bool grown by so many pixels, or shrunk if negative.

    Raises:
        UserError: nothing is left of it or of the image, or it is more than 64 pixels.
    """
    new = changed_by(pixels, mask)
    if not new.any():
        raise UserError(f"nothing is left of the mask when it is shrunk by {-pixels} pixels: shrink it less")
    if new.all():
        raise UserError(f"the mask covers everything when it is grown by {pixels} pixels: grow it less")
    return new


def mask_of(canvas: Canvas | None, value: EditorValue | None) -> np.ndarray:
    """The mask at the image's size, (h, w) bool: the mask at full size, except where it was painted or erased since.

    Raises:
        UserError: no image is open, or nothing or everything is marked.
    """
    canvas = opened(canvas)
    layers = [np.asarray(layer.convert("RGBA")) for layer in (value or {}).get("layers") or []]
    paint = np.zeros(screen_size(canvas.size), bool)
    for layer in layers:
        paint |= resized(painted(layer), paint.shape)
    mask = resized(paint, canvas.size)
    if canvas.mask is not None and canvas.shown is not None:
        mask = np.where(resized(paint != canvas.shown, canvas.size), mask, canvas.mask)
    if not mask.any():
        raise UserError("nothing is marked: paint over what is to be replaced, or upload a mask")
    if mask.all():
        raise UserError("everything is marked, so there is nothing known to go by: erase some of the mask")
    return mask


def complete(
    pipe: InpaintingPipeline, canvas: Canvas, mask: np.ndarray, stage: str = "refined", mode: str = "auto"
) -> Completed:
    """Completes the image as it was uploaded, see `InpaintingPipeline` for the stage and the mode.

    Raises:
        UserError: the image is no longer there or too small, there is no such stage or mode, or the network would
            take more than `LIMIT` pixels at once.
    """
    if stage not in STAGES:
        raise UserError(f"stage must be one of {', '.join(STAGES)}, got {stage!r}")
    image = read_image(canvas.path)
    plan = pipe.plan(mask, cast(Mode, mode))  # which looks at it
    if plan.pixels > LIMIT:
        raise UserError(
            f"{plan.pixels / 1e6:.0f} megapixels at once exceed the {LIMIT / 1e6:.0f} that the page allows: choose "
            "“whole image, scaled down” under “For large images”, or mark less"
        )
    start = time.perf_counter()
    [rgb] = pipe.complete([image.rgb], [mask], cast(Mode, mode), cast(Stage, stage))
    seconds = time.perf_counter() - start
    done = image.composite(rgb, mask)
    height, width = image.size
    seen = {
        "native": "the whole image at once",
        "crop": f"{len(plan.windows)} window{'s' if len(plan.windows) > 1 else ''} around the mask",
        "resize": "the whole image, scaled down",
    }
    report = f"{width}×{height} pixels, {mask.mean():.1%} replaced in {seconds:.1f} s; seen: {seen[plan.mode]}"
    before, after = for_screen(image.rgb), for_screen(rgb)
    return Completed(done, image.profile, before, after, reduced(mask, before.shape[:2]), report)


def layout_of(pipe: InpaintingPipeline, image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """The layout (n, h', w') that the network makes of an image (h, w, 3) uint8 with a mask (h, w) bool; it sees the
    whole of it, scaled down if a side is longer than 512 pixels.

    Raises:
        UserError: the network has no attentive normalization, or the image is too small or far too long.
    """
    if pipe.generator.config.branch.kind != WITH_LAYOUT:
        raise UserError("this model has no attentive normalization and so no layout: choose one that is marked AN")
    small = for_screen(image, NATIVE_SIDE)
    missing = np.zeros(small.shape[:2], bool) if mask is None else reduced(mask, small.shape[:2])
    if pipe.plan(missing, "native").pixels > LIMIT:  # which says what else is wrong with the image's size
        raise UserError("the image is too long and narrow for the network to see the whole of it: cut it")
    [layout] = pipe.stages(small[None], missing[None]).layouts.values()  # the branch has one layer
    return layout[0]


def _value(image: EditableImage, mask: np.ndarray | None) -> EditorValue:
    layers = [] if mask is None else [Image.fromarray(as_layer(mask))]
    return {"background": Image.fromarray(for_screen(image.rgb, SCREEN)), "layers": layers, "composite": None}


def _transparent(image: EditableImage) -> np.ndarray | None:
    """The image's own transparent pixels, if it has some and others."""
    try:
        mask = image.transparent()
    except DecodeError:
        return None
    return mask if mask.any() and not mask.all() else None


def opened(canvas: Canvas | None) -> Canvas:
    """Raises a UserError if no image is open."""
    if canvas is None:
        raise UserError("open an image first, or choose an example")
    return canvas
