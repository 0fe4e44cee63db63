"""`attnorm contact-sheet`: what is on it, and what it does without."""

import numpy as np
from PIL import Image

from attnorm.data.builtin import example_images
from attnorm.data.masks import Masks
from attnorm.metrics.inpainting import MASKS
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.plots import colour_layout, enlarge


def test_the_sheet_has_images_an_interpolation_layouts_and_a_completion(output, contains, inpainter, tmp_path):
    out = tmp_path / "sheet.png"
    assert output("contact-sheet", "an-gan-digits", "--inpainter", inpainter, "-o", out).out == f"{out}\n"
    sheet = np.asarray(Image.open(out).convert("RGB"))
    pipe = ClassConditionalPipeline.from_pretrained("an-gan-digits")
    drawn = pipe.draw([label for label in range(10) for _ in range(10)])
    assert contains(sheet, enlarge(drawn.images[-1:])[0])
    assert contains(sheet, enlarge(pipe.interpolate(0, 5, 8, 2).images[1, 4][None])[0])
    [layouts] = pipe.draw(["0"]).layouts.values()
    assert contains(sheet, enlarge(colour_layout(layouts[0])[None])[0])
    mask = Masks(MASKS["strokes"], (64, 64)).batch(0, range(1))[0]
    known = next(rows for rows in (slice(first, first + 4) for first in range(0, 64, 4)) if not mask[rows, :16].any())
    assert contains(sheet, enlarge(example_images(64, 1)[:, known, :16], 32)[0])


def test_a_model_without_layouts_gets_a_sheet_without_them(output, refused, plain_model, inpainter, tmp_path):
    arguments = ["contact-sheet", plain_model, "--inpainter", inpainter, "-o", tmp_path / "sheet.png"]
    assert output(*arguments).out == f"{tmp_path / 'sheet.png'}\n"
    assert "exists already" in refused(*arguments)
