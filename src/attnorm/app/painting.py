"""One visitor's picture with its hole: what the editor shows of it, and the picture completed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import numpy as np
from PIL import Image

from attnorm.app.masks import as_layer, changed_by, painted, reduced, resized
from attnorm.app.pictures import SCREEN, for_screen, read_mask, read_picture, screen_size
from attnorm.app.shelf import WITH_LAYOUT
from attnorm.data.compositing import EditableImage, check_mask
from attnorm.data.decode import DecodeError
from attnorm.errors import UserError
from attnorm.pipelines.inpainting import NATIVE_SIDE, InpaintingPipeline, Mode, Stage

LIMIT = 1 << 23  # pixels of one visitor's image that go through the network at once
STAGES: tuple[str, ...] = get_args(Stage)
EditorValue = dict[str, Any]


@dataclass(frozen=True)
class Canvas:
    """A picture in the editor, which shows it scaled down if it is large.

    path, name: of the file as it was uploaded; the editor's own copy of the picture is never used.
    size: (height, width) of the picture.
    hole: (height, width) bool, the mask at full size that came from a file, from growing or from shrinking.
    shown: the same as the editor got it, by which strokes since then are told.
    """

    path: str
    name: str
    size: tuple[int, int]
    hole: np.ndarray | None = None
    shown: np.ndarray | None = None


class Completed(NamedTuple):
    """picture: the whole one, every known pixel as it was. before, after: (h, w, 3) uint8, for the screen; `hole` is
    theirs, (h, w) bool. report: what was done, a sentence.
    """

    picture: Image.Image
    profile: bytes | None
    before: np.ndarray
    after: np.ndarray
    hole: np.ndarray
    report: str


def open_canvas(path: str | None, name: str | None = None) -> tuple[Canvas, EditorValue]:
    """A picture as it comes into the editor; its own transparent pixels are the hole at first."""
    picture = read_picture(path)
    assert path is not None  # read_picture would have said so
    canvas = Canvas(path, name or Path(path).name, picture.size)
    transparent = _transparent(picture)
    if transparent is not None:
        return with_hole(canvas, transparent, picture)
    return canvas, _value(picture, None)


def with_hole(canvas: Canvas, hole: np.ndarray, picture: EditableImage | None = None) -> tuple[Canvas, EditorValue]:
    """The canvas with this mask, (h, w) bool of the picture's size, in place of what was painted."""
    shown = reduced(hole, screen_size(canvas.size))
    return replace(canvas, hole=hole, shown=shown), _value(picture or read_picture(canvas.path), shown)


def with_nothing_marked(canvas: Canvas) -> tuple[Canvas, EditorValue]:
    """The canvas without its hole: nothing of what was painted or came from a file is left."""
    return replace(canvas, hole=None, shown=None), _value(read_picture(canvas.path), None)


def with_mask_file(canvas: Canvas | None, path: str | None) -> tuple[Canvas, EditorValue]:
    """The canvas with an uploaded mask; one of another size but the same proportions is scaled to the picture."""
    canvas = opened(canvas)
    mask = read_mask(path)
    (height, width), (rows, columns) = canvas.size, mask.shape
    if abs(height * columns - width * rows) > max(height, width):  # one pixel of rounding
        raise UserError(
            f"the mask is {columns}×{rows} and the picture {width}×{height}: give a mask of the picture's proportions"
        )
    try:
        return with_hole(canvas, check_mask(mask, canvas.size, resize=True))
    except DecodeError as error:
        raise UserError(str(error)) from error


def with_changed_hole(canvas: Canvas | None, value: EditorValue | None, pixels: int) -> tuple[Canvas, EditorValue]:
    """The canvas with its hole grown, or shrunk, by so many of the picture's pixels."""
    canvas = opened(canvas)
    return with_hole(canvas, changed(hole_of(canvas, value), pixels))


def changed(hole: np.ndarray, pixels: int) -> np.ndarray:
    """A hole (h, w) bool grown by so many pixels, or shrunk if negative.

    Raises:
        UserError: nothing is left of it or of the picture, or it is more than 64 pixels.
    """
    new = changed_by(pixels, hole)
    if not new.any():
        raise UserError(f"nothing is left of the mask when it is shrunk by {-pixels} pixels: shrink it less")
    if new.all():
        raise UserError(f"the mask covers everything when it is grown by {pixels} pixels: grow it less")
    return new


def hole_of(canvas: Canvas | None, value: EditorValue | None) -> np.ndarray:
    """The hole at the picture's size, (h, w) bool: the mask at full size, except where it was painted or erased since.

    Raises:
        UserError: no picture is open, or nothing or everything is marked.
    """
    canvas = opened(canvas)
    layers = [np.asarray(layer.convert("RGBA")) for layer in (value or {}).get("layers") or []]
    paint = np.zeros(screen_size(canvas.size), bool)
    for layer in layers:
        paint |= resized(painted(layer), paint.shape)
    hole = resized(paint, canvas.size)
    if canvas.hole is not None and canvas.shown is not None:
        hole = np.where(resized(paint != canvas.shown, canvas.size), hole, canvas.hole)
    if not hole.any():
        raise UserError("nothing is marked: paint over what is to be replaced, or upload a mask")
    if hole.all():
        raise UserError("everything is marked, so there is nothing known to go by: erase some of the mask")
    return hole


def complete(
    pipe: InpaintingPipeline, canvas: Canvas, hole: np.ndarray, stage: str = "refined", mode: str = "auto"
) -> Completed:
    """Completes the picture as it was uploaded, see `InpaintingPipeline` for the stage and the mode.

    Raises:
        UserError: the picture is no longer there or too small, there is no such stage or mode, or the network would
            take more than `LIMIT` pixels at once.
    """
    if stage not in STAGES:
        raise UserError(f"stage must be one of {', '.join(STAGES)}, got {stage!r}")
    picture = read_picture(canvas.path)
    plan = pipe.plan(hole, cast(Mode, mode))  # which looks at it
    if plan.pixels > LIMIT:
        raise UserError(
            f"{plan.pixels / 1e6:.0f} megapixels at once exceed the {LIMIT / 1e6:.0f} that the page allows: choose "
            "“whole picture, scaled down” under “For large pictures”, or mark less"
        )
    start = time.perf_counter()
    [rgb] = pipe.complete([picture.rgb], [hole], cast(Mode, mode), cast(Stage, stage))
    seconds = time.perf_counter() - start
    done = picture.composite(rgb, hole)
    height, width = picture.size
    seen = {
        "native": "the whole picture at once",
        "crop": f"{len(plan.windows)} window{'s' if len(plan.windows) > 1 else ''} around the hole",
        "resize": "the whole picture, scaled down",
    }
    report = f"{width}×{height} pixels, {hole.mean():.1%} replaced in {seconds:.1f} s; seen: {seen[plan.mode]}"
    before, after = for_screen(picture.rgb), for_screen(rgb)
    return Completed(done, picture.profile, before, after, reduced(hole, before.shape[:2]), report)


def layout_of(pipe: InpaintingPipeline, picture: np.ndarray, hole: np.ndarray | None = None) -> np.ndarray:
    """The layout (n, h', w') that the network makes of a picture (h, w, 3) uint8 with a hole (h, w) bool; it sees the
    whole of it, scaled down if a side is longer than 512 pixels.

    Raises:
        UserError: the network has no attentive normalization, or the picture is too small or far too long.
    """
    if pipe.generator.config.branch.kind != WITH_LAYOUT:
        raise UserError("this model has no attentive normalization and so no layout: choose one that is marked AN")
    small = for_screen(picture, NATIVE_SIDE)
    missing = np.zeros(small.shape[:2], bool) if hole is None else reduced(hole, small.shape[:2])
    if pipe.plan(missing, "native").pixels > LIMIT:  # which says what else is wrong with the picture's size
        raise UserError("the picture is too long and narrow for the network to see the whole of it: cut it")
    [layout] = pipe.stages(small[None], missing[None]).layouts.values()  # the branch has one layer
    return layout[0]


def _value(picture: EditableImage, mask: np.ndarray | None) -> EditorValue:
    layers = [] if mask is None else [Image.fromarray(as_layer(mask))]
    return {"background": Image.fromarray(for_screen(picture.rgb, SCREEN)), "layers": layers, "composite": None}


def _transparent(picture: EditableImage) -> np.ndarray | None:
    """The picture's own transparent pixels, if it has some and others."""
    try:
        hole = picture.transparent()
    except DecodeError:
        return None
    return hole if hole.any() and not hole.all() else None


def opened(canvas: Canvas | None) -> Canvas:
    """Raises a UserError if no picture is open."""
    if canvas is None:
        raise UserError("open a picture first, or choose an example")
    return canvas
