"""Draw what the layers learned: each generated picture, its layout in colour, and the maps of its entities; and what
the regions do to the statistics of the features. Of an inpainting model: its layout over a picture that it completes.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attnorm.cli import visualize_inpainter
from attnorm.cli.arguments import file_path
from attnorm.cli.layouts import check_entities, drawn_usage, no_layout
from attnorm.cli.model_argument import add_model
from attnorm.errors import UserError
from attnorm.files import check_output, output_file
from attnorm.metrics.regions import RegionSummary, record_regions, region_table
from attnorm.models.pretrained import task_of
from attnorm.pipelines import ClassConditionalPipeline, check_count
from attnorm.plots import layout_sheet, save_picture, save_region_chart
from attnorm.plots.charts import check_chart_name
from attnorm.plots.saving import check_picture_name

COUNT = 8  # pictures, unless told otherwise


def configure(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("image", type=file_path, nargs="?", metavar="IMAGE", help="of an inpainting model: a picture")
    parser.add_argument(
        "mask",
        type=file_path,
        nargs="?",
        metavar="MASK",
        help="its mask, light where pixels are missing (default: its own)",
    )
    parser.add_argument("--labels", nargs="+", metavar="LABEL", help="class names or indices; default: all classes")
    parser.add_argument("--count", type=int, metavar="N", help="pictures in all (default 8)")
    parser.add_argument("--entities", nargs="+", type=int, metavar="K", help="whose maps the sheet shows; default: all")
    parser.add_argument("--seed", type=int, help="of the pictures (default 0)")
    parser.add_argument("-o", "--out", type=file_path, help="the sheet, such as layouts.png")
    parser.add_argument(
        "--regions",
        type=file_path,
        metavar="CHART",
        help="mean and deviation of the features inside each region against the whole map: a chart such as "
        "regions.png, with the numbers as .csv and .json beside it",
    )
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")


def run(args: argparse.Namespace) -> None:
    if args.out is None and args.regions is None:
        raise UserError("one of these is required: -o/--out for the sheet, --regions for the regions' statistics")
    if task_of(args.model) == "inpainting":
        visualize_inpainter.run(args)
        return
    if args.image is not None:
        raise UserError(f"{args.model} completes no pictures: leave {args.image} out")
    _check_files(args)
    if args.count is not None:
        check_count(args.count)
    args.seed = 0 if args.seed is None else args.seed
    pipe = ClassConditionalPipeline.from_pretrained(args.model, device=args.device)
    with ExitStack() as stack:
        regions = {} if args.regions is None else stack.enter_context(record_regions(pipe.generator))
        drawn = pipe.draw(args.labels, COUNT if args.count is None else args.count, args.seed, with_layouts=True)
    if not drawn.layouts:
        raise no_layout(args.model)
    [(layer, layouts)] = drawn.layouts.items()  # a generator has one long-range layer
    check_entities(args.entities, layouts)
    if args.out is not None:
        titles = [pipe.class_names[label] for label in drawn.labels]
        save_picture(layout_sheet(drawn.pictures, layouts, titles, args.entities), args.out)
        print(drawn_usage(args.out, layouts))
    if args.regions is not None:
        _report_regions(regions[layer].summary(), layer, args, drawn.labels)


def _check_files(args: argparse.Namespace) -> None:
    """Finds out before anything is drawn whether the files can be made."""
    paths = [] if args.out is None else [args.out]
    if args.out is not None:
        check_picture_name(args.out)
    if args.regions is not None:
        check_chart_name(args.regions)
        paths += [args.regions, *_tables_of(args.regions)]
    for path in paths:
        check_output(path, args.force)
    if args.out is not None and args.out == args.regions:
        raise UserError(f"-o and --regions are both {args.out}: give them different names")


def _tables_of(chart: Path) -> list[Path]:
    return [chart.with_suffix(".csv"), chart.with_suffix(".json")]


def _report_regions(summary: RegionSummary, layer: str, args: argparse.Namespace, labels: Sequence[int]) -> None:
    """The chart, the two files of numbers, and the table on the screen."""
    names, rows = region_table(summary)
    table, record = _tables_of(args.regions)
    save_region_chart(summary, args.regions, f"features that {layer} normalises, {len(labels)} pictures")
    with output_file(table) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([names, *rows])
    about = {"model": str(args.model), "layer": layer, "seed": args.seed, "labels": list(labels)}
    within = {"weighted": summary.weighted.within, "argmax": summary.argmax.within}
    regions = [dict(zip(names, row, strict=True)) for row in rows]
    with output_file(record) as partial:
        text = json.dumps({**about, "variance_within_regions": within, "regions": regions}, indent=1)
        partial.write_text(text + "\n", encoding="utf-8")
    print("\n".join(_lines(names, rows)))
    print(
        "of the whole map's variance, what is left inside the regions: "
        f"weighted {within['weighted']:.1%}, argmax {within['argmax']:.1%}"
    )
    print(", ".join(map(str, [args.regions, table, record])))


def _lines(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    cells = [[name.replace("_", " ") for name in names]]
    for region, *figures in rows:
        cells.append([str(region), *("-" if figure is None else f"{figure:.3f}" for figure in figures)])
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
