"""Draws overview.png, the image at the top of the README, from the models in the package.

python docs/images/overview.py FACADE.jpg        # a photograph of a building front that was not trained on
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from attnorm import ClassConditionalPipeline, InpaintingPipeline
from attnorm.plots import colour_layout, enlarge, grid
from attnorm.plots.grids import caption, framed, stack

SIDE, CROP = 256, 218  # the model completes SIDE x SIDE pixels, of which the middle is shown
STROKES = (((50, 62), (120, 84)), ((182, 50), (190, 140)), ((70, 196), (160, 184)))  # (x, y) to (x, y)
WIDTH = 8  # of a stroke, in pixels


def generated() -> np.ndarray:
    """An image per class, and its layout below it."""
    drawn = ClassConditionalPipeline.from_pretrained("an-gan-digits").draw()
    [layouts] = drawn.layouts.values()
    colours = np.stack([colour_layout(layout) for layout in layouts])
    return grid(np.concatenate([enlarge(drawn.images), enlarge(colours)]), len(colours))


def completed(path: Path) -> np.ndarray:
    """The masked photograph, its completion and the photograph."""
    photo, mask = Image.open(path).convert("RGB").resize((SIDE, SIDE)), Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(mask)
    for stroke in STROKES:
        pen.line(stroke, fill=255, width=WIDTH)
    result = InpaintingPipeline.from_pretrained("an-inpaint-facades")(photo, mask).images[0]
    masked = np.where(np.asarray(mask)[..., None] > 0, np.uint8(128), np.asarray(photo))
    low, high = (SIDE - CROP) // 2, (SIDE + CROP) // 2
    return grid(np.stack([masked, np.asarray(result), np.asarray(photo)])[:, low:high, low:high], 3)


if __name__ == "__main__":
    parts = {
        "Generated digits, and the layout that the layer learned for each": generated(),
        "A photograph: masked, completed, original": completed(Path(sys.argv[1])),
    }
    sheets = [stack([caption(title, part.shape[1]), part], gap=0) for title, part in parts.items()]
    Image.fromarray(framed(stack(sheets))).save(Path(__file__).with_name("overview.png"))
