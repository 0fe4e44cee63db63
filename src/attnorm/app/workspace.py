"""The server side of the canvas: opens, completes and saves images.

A request has the image's id and the mask as they were at the click, and a completed image gets an id of its own. So a
late answer cannot be applied to another image.
"""

import base64
import functools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast, get_args

import numpy as np
from PIL import Image
from torch import nn

from attnorm.app.controls import sentence
from attnorm.app.images import as_data_url, encoded, layout_of, legend, read_mask, usable, view_of
from attnorm.app.model_list import ModelList
from attnorm.app.store import Store, StoredImage
from attnorm.data.compositing import EditableImage, check_mask
from attnorm.data.decode import DecodeError
from attnorm.data.masks import MaskConfig, Masks
from attnorm.errors import UserError
from attnorm.pipelines.inpainting import Mode, Stage
from attnorm.plots import colour_layout

MOST_PIXELS = 1 << 23  # of one image in one pass of the network
MOST_CANCELLED = 1000  # remembered cancelled runs
EXAMPLE_MASKS = MaskConfig(kind="strokes", fraction=(0.01, 0.02), brush=(0.02, 0.03))
STAGES: tuple[str, ...] = get_args(Stage)
SEEN = {"native": "the whole image", "crop": "windows around the mask", "resize": "the whole image, scaled down"}
Answer = dict[str, Any]


class Workspace:
    """The functions that the page calls with JSON. They return JSON; an error is {"error": message}."""

    def __init__(self, models: ModelList, examples: Sequence[np.ndarray]) -> None:
        self._models, self._examples = models, examples
        self.store = Store()
        self._cancelled: deque[str] = deque(maxlen=MOST_CANCELLED)

    def functions(self) -> list[Callable[..., Answer]]:
        """The functions in the form that Gradio takes."""
        calls = (self.open_image, self.open_example, self.read_mask, self.complete, self.cancel, self.save, self.layout)
        return [_answering(call) for call in calls]

    def open_image(self, request: Any) -> Answer:
        """Opens an uploaded file; its transparent pixels are the initial mask."""
        [(name, content)] = request.files
        stored, image = self.store.open(content, name)
        mask = _transparent(image)
        return {"image": _shown(stored, image.rgb), "mask": None if mask is None else as_data_url(mask)}

    def open_example(self, request: Answer) -> Answer:
        """Opens an example, with a small mask."""
        number = int(request["number"])
        stored, image = self.store.open(encoded(self._examples[number]), f"example-{number + 1}.png")
        mask = Masks(EXAMPLE_MASKS, image.size)(0, number)
        return {"image": _shown(stored, image.rgb), "mask": as_data_url(mask)}

    def read_mask(self, request: Any) -> Answer:
        """Reads an uploaded mask and scales it to the image."""
        stored = self.store[request.data["image"]]
        [(_, content)] = request.files
        return {"mask": as_data_url(fitted(read_mask(content), stored.size))}

    def complete(self, request: Answer) -> Answer:
        """Completes an image; returns the new image and a report."""
        stored, run = self.store[request["image"]], request["run"]
        mask = _sent_mask(request["mask"], stored.size)
        completed, rgb, report = self.run(
            stored, mask, request["model"], request["stage"], request["mode"], lambda: run in self._cancelled
        )
        return {"image": _shown(completed, rgb), "report": report}

    def cancel(self, request: Answer) -> Answer:
        """Cancels a run: a queued one never starts, and a started one ends before its next convolution."""
        self._cancelled.append(request["run"])
        return {}

    def save(self, request: Answer) -> Answer:
        """Writes a file to download."""
        path = self.store[request["image"]].save(request["format"])
        return {"path": str(path), "name": path.name}

    def layout(self, request: Answer) -> Answer:
        """Draws the layout of a completed image with its mask."""
        stored = self.store[request["image"]]
        rgb, mask = stored.load().rgb, _sent_mask(request["mask"], stored.size)
        with self._models.inpainter(request["model"]) as pipe:
            layout = layout_of(pipe, rgb, mask)
        return {"layout": as_data_url(colour_layout(layout)), "legend": legend(layout)}

    def run(
        self,
        stored: StoredImage,
        mask: np.ndarray,
        model: str,
        stage: str = "refined",
        mode: str = "auto",
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> tuple[StoredImage, np.ndarray, str]:
        """Completes a stored image where the mask (h, w) bool is True; see `InpaintingPipeline` for stage and mode.

        Returns the stored completed image, its RGB pixels (h, w, 3) uint8, and a report. Raises a UserError if nothing
        or everything is marked, a stage or mode is unknown, there are too many pixels, or the run is cancelled.
        """
        if stage not in STAGES:
            raise UserError(f"stage must be one of {', '.join(STAGES)}, got {stage!r}")
        if not mask.any():
            raise UserError("nothing is marked: paint over what should be replaced")
        if mask.all():
            raise UserError("everything is marked: erase part of the mask")
        with self._models.inpainter(model, is_cancelled) as pipe, _stopping(pipe.generator, is_cancelled):
            plan = pipe.plan(mask, cast(Mode, mode))
            if plan.pixels > MOST_PIXELS:
                raise UserError(
                    f"{plan.pixels / 1e6:.0f} megapixels at once are more than the {MOST_PIXELS / 1e6:.0f} that the "
                    "page allows: choose “whole image, scaled down”, or mark less"
                )
            image = stored.load()
            start = time.perf_counter()
            [rgb] = pipe.complete([image.rgb], [mask], cast(Mode, mode), cast(Stage, stage))
            seconds = time.perf_counter() - start
        completed = self.store.add(image.composite(rgb, mask), stored)
        report = f"network {seconds:.1f} s, {mask.mean():.1%} replaced; the network saw {SEEN[plan.mode]}"
        return completed, rgb, report


def fitted(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales a mask (h, w) bool to the image's (height, width); UserError if its proportions differ."""
    (height, width), (rows, columns) = size, mask.shape
    if abs(height * columns - width * rows) > max(height, width):  # one pixel of rounding
        raise UserError(f"the mask is {columns}×{rows} and the image {width}×{height}: give one of its proportions")
    with usable("mask"):
        return check_mask(mask, size, resize=True)


def _sent_mask(sent: Answer, size: tuple[int, int]) -> np.ndarray:
    """The mask, scaled to the image. The page sends a PNG of a box and the box's place in a mask (height, width)."""
    part = read_mask(base64.b64decode(sent["png"].partition(",")[2]))
    mask = np.zeros((sent["height"], sent["width"]), bool)
    mask[sent["top"] : sent["top"] + part.shape[0], sent["left"] : sent["left"] + part.shape[1]] = part
    if mask.shape == size:
        return mask
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))


def _shown(stored: StoredImage, rgb: np.ndarray) -> Answer:
    height, width = stored.size
    shown = {"id": stored.id, "name": stored.name, "format": stored.format, "width": width, "height": height}
    return {**shown, "view": view_of(rgb)}


def _transparent(image: EditableImage) -> np.ndarray | None:
    """The image's transparent pixels, if some but not all are transparent."""
    try:
        mask = image.transparent()
    except DecodeError:
        return None
    return mask if mask.any() and not mask.all() else None


@contextmanager
def _stopping(network: nn.Module, is_cancelled: Callable[[], bool]) -> Iterator[None]:
    """In this context, a cancelled run raises a UserError before the network's next module runs."""

    def check(*_: Any) -> None:
        if is_cancelled():
            raise UserError("cancelled")

    parts = [part for child in network.children() for part in child.children()]
    hooks = [part.register_forward_pre_hook(check) for part in parts]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _answering(call: Callable[[Any], Answer]) -> Callable[[Any], Answer]:
    @functools.wraps(call)
    def answer(request: Any) -> Answer:
        try:
            return call(request)
        except UserError as error:
            return {"error": sentence(error)}

    return answer
