"""The pictures of a card: what the published weights draw, and their layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attnorm.data.facades import render_facade
from attnorm.data.facades.render import MAX_SIZE, MIN_SIZE
from attnorm.data.loading import load
from attnorm.errors import UserError
from attnorm.inpainting_pipeline import InpaintingPipeline
from attnorm.metrics.inpainting import composite, example_masks
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.plots import label_grid, layout_sheet
from attnorm.plots.inpainting import inpainting_sheet, with_holes

SAMPLES, LAYOUTS = "samples.png", "layouts.png"
SEED = 0
MOST_CLASSES, PER_CLASS, LAYOUT_ROWS = 10, 6, 5
PICTURES = 4  # of an inpainting model


def generator_sheets(pipe: ClassConditionalPipeline) -> dict[str, np.ndarray]:
    """Sheets (h, w, 3) uint8 by file name: pictures of each class, and the layouts of one of each if there are any."""
    names = pipe.class_names[:MOST_CLASSES]
    sheets = {SAMPLES: label_grid(generator_pictures(pipe), names, PER_CLASS)}
    drawn = pipe.draw(list(names[:LAYOUT_ROWS]), seed=SEED, with_layouts=True)
    for layouts in drawn.layouts.values():  # a generator has one long-range layer
        sheets[LAYOUTS] = layout_sheet(drawn.pictures, layouts, names[:LAYOUT_ROWS])
    return sheets


def generator_pictures(pipe: ClassConditionalPipeline) -> np.ndarray:
    """The pictures of the sheet, class by class, (b, h, w, 3) uint8."""
    shown = range(min(MOST_CLASSES, len(pipe.class_names)))
    return pipe.draw([label for label in shown for _ in range(PER_CLASS)], seed=SEED).pictures


def inpainter_sheets(pipe: InpaintingPipeline, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """A row a picture (b, s, s, 3) uint8: with its hole, completed by both stages, the truth, and the layout."""
    holes = inpainter_holes(pictures)
    stages = pipe.stages(pictures, holes)
    columns = {
        "input": with_holes(pictures, holes),
        "coarse": composite(pictures, stages.coarse, holes),
        "refined": composite(pictures, stages.refined, holes),
        "truth": pictures,
    }
    return {SAMPLES: inpainting_sheet(columns, [""] * len(pictures), next(iter(stages.layouts.values()), None))}


def inpainter_holes(pictures: np.ndarray) -> np.ndarray:
    return example_masks(len(pictures), pictures.shape[1], SEED)


def example_pictures(size: int, source: str | None, cache: Path) -> np.ndarray:
    """Pictures (b, size, size, 3) uint8 to complete: drawn building fronts, or evenly spread ones of a picture set.

    Raises:
        UserError: building fronts are not drawn at this size, or the set cannot be read.
    """
    if source is not None:
        dataset = load(source, size, cache=cache)
        count = min(PICTURES, len(dataset))
        pictures, _ = dataset.batch(np.arange(count) * len(dataset) // count)
        return pictures
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UserError(f"the model's pictures have {size} pixels a side: name some with --pictures for the samples")
    return np.stack([render_facade(SEED, index, size).image for index in range(PICTURES)])
