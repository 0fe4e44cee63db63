"""One sheet of what a trained generator does: pictures of its classes, the way from one class to another, and layouts;
and a part of a photograph completed by an inpainting model.
"""

from __future__ import annotations

import argparse

import numpy as np

from attnorm.cli.arguments import file_path, path_or_name
from attnorm.cli.model_argument import add_model
from attnorm.data.builtin import example_images
from attnorm.data.masks import Masks
from attnorm.files import check_output
from attnorm.inpainting_pipeline import InpaintingPipeline
from attnorm.metrics.inpainting import HOLES, composite
from attnorm.pipelines import ClassConditionalPipeline
from attnorm.plots import interpolation_sheet, label_grid, layout_sheet, save_picture
from attnorm.plots.grids import BACKGROUND, caption, framed, stack
from attnorm.plots.inpainting import inpainting_layout_sheet, inpainting_sheet, with_holes
from attnorm.plots.saving import check_picture_name

INPAINTER = "an-inpaint-facades"
COLUMNS, MOST_CLASSES = 10, 10
FRAMES, ROWS = 8, 2
LAYOUTS, ENTITIES, FRONT_ENTITIES = 8, 6, 2  # rows, and how many of the entities with the largest shares
GAP = 16


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("-o", "--out", type=file_path, required=True, help="the sheet, such as sheet.png")
    parser.add_argument(
        "--inpainter",
        type=path_or_name,
        default=INPAINTER,
        metavar="MODEL",
        help=f"which completes the photograph (default {INPAINTER}, which comes with attnorm)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="overwrite an existing sheet")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")


def run(args: argparse.Namespace) -> None:
    check_picture_name(args.out)
    check_output(args.out, args.force)
    pipe = ClassConditionalPipeline.from_pretrained(args.model, device=args.device)
    left = [_titled(f"Drawn by {args.model}", _classes(pipe, args.seed))]
    right = [_titled("From one class to another", _way(pipe, args.seed))]
    layouts = _layouts(pipe, args.seed)
    if layouts is not None:
        right.append(_titled("The layouts that its attentive normalization made", layouts))
    front = _front(InpaintingPipeline.from_pretrained(args.inpainter, device=args.device), args.seed)
    left.append(_titled(f"A part of a photograph, completed by {args.inpainter}", front))
    save_picture(framed(_beside(stack(left, gap=GAP), stack(right, gap=GAP))), args.out)
    print(args.out)


def _titled(title: str, sheet: np.ndarray) -> np.ndarray:
    return stack([caption(title, sheet.shape[1]), sheet])


def _beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two sheets side by side, white below the lower one."""
    height = max(left.shape[0], right.shape[0])
    padded = [
        np.pad(sheet, ((0, height - sheet.shape[0]), (0, gap), (0, 0)), constant_values=BACKGROUND)
        for sheet, gap in ((left, GAP), (right, 0))
    ]
    return np.concatenate(padded, axis=1)


def _classes(pipe: ClassConditionalPipeline, seed: int) -> np.ndarray:
    names = pipe.class_names[:MOST_CLASSES]
    drawn = pipe.draw([label for label in range(len(names)) for _ in range(COLUMNS)], seed=seed)
    return label_grid(drawn.pictures, names, COLUMNS)


def _way(pipe: ClassConditionalPipeline, seed: int) -> np.ndarray:
    last = len(pipe.class_names) // 2
    drawn = pipe.interpolate(0, last, FRAMES, ROWS, seed)
    return interpolation_sheet(drawn.pictures, drawn.shares.tolist(), (pipe.class_names[0], pipe.class_names[last]))


def _layouts(pipe: ClassConditionalPipeline, seed: int) -> np.ndarray | None:
    drawn = pipe.draw(pipe.class_names[:LAYOUTS], seed=seed, with_layouts=True)
    titles = [pipe.class_names[label] for label in drawn.labels]
    for layouts in drawn.layouts.values():  # a generator has one long-range layer
        return layout_sheet(drawn.pictures, layouts, titles, _largest(layouts))
    return None


def _front(pipe: InpaintingPipeline, seed: int) -> np.ndarray:
    size = pipe.generator.config.image_size
    picture = example_images(size, 1)[0]
    hole = Masks(HOLES["centre"], (size, size))(seed, 0)
    stages = pipe.stages(picture[None], hole[None])
    completed = composite(picture[None], stages.refined, hole[None])
    for layouts in stages.layouts.values():  # the branch has one layer
        return inpainting_layout_sheet(picture, hole, completed[0], layouts[0], _largest(layouts)[:FRONT_ENTITIES])
    return inpainting_sheet({"input": with_holes(picture[None], hole[None]), "completed": completed}, [""])


def _largest(layouts: np.ndarray) -> list[int]:
    """The entities with the largest weights over layouts (b, n, h, w), the largest first."""
    shares = layouts.mean((0, 2, 3))
    return [int(entity) for entity in np.argsort(-shares, kind="stable")[:ENTITIES]]
