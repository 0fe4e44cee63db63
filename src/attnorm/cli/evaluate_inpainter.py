"""`attnorm evaluate` of an inpainting model: completed validation pictures against the truth, beside simpler fills."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from attnorm.cli.measured_model import MeasuredModel, check_loaded, measured_model
from attnorm.cli.records import record_path
from attnorm.config import to_dict
from attnorm.data.loading import load, place_of
from attnorm.data.masks import MaskConfig, Masks
from attnorm.data.progress import report
from attnorm.distributed import first_process_first, rank_and_count
from attnorm.errors import UserError
from attnorm.inpainting_pipeline import SMALLEST_SIDE, InpaintingPipeline
from attnorm.metrics.base import Options
from attnorm.metrics.evaluation import compute_metrics
from attnorm.metrics.features import Progress, load_extractor
from attnorm.metrics.fills import has_opencv, mean_colour, telea
from attnorm.metrics.images import ImageSet
from attnorm.metrics.inpainting import BATCH, HOLES, Truths, composite, measure_fills
from attnorm.metrics.reconstruction import Window
from attnorm.metrics.records import (
    InpaintingProtocol,
    Protocol,
    Result,
    make_inpainting_record,
    make_results,
    record_table,
    table,
    write_record,
)
from attnorm.metrics.registry import find_metrics
from attnorm.models.inpainting import LARGEST_PICTURE, InpaintingGeneratorConfig
from attnorm.pipelines import check_device
from attnorm.plots import save_picture
from attnorm.plots.inpainting import inpainting_sheet, with_holes
from attnorm.training.inpainting import InpaintingConfig
from attnorm.training.restore import load_raw_inpainter

SHOWN = 8  # images of the sheet for each kind of mask


def configure(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument(
        "--window",
        choices=get_args(Window),
        help="of SSIM: gaussian, 11 x 11 (default), or uniform, 7 x 7; the two do not compare",
    )
    parser.add_argument("--size", type=int, metavar="N", help="side of the images and masks (default: as in training)")
    parser.add_argument("--masks", nargs="+", choices=HOLES, help="one or more kinds (default: all)")


class _Source(NamedTuple):
    """What is measured, and the pictures that it completes."""

    model: MeasuredModel
    data: str
    config: InpaintingConfig | None  # whose held-out pictures are measured; None for all of `data`
    split: str


def run(args: argparse.Namespace, device: str) -> None:
    args.window = args.window or "gaussian"
    kinds = {kind: HOLES[kind] for kind in args.masks or HOLES}
    if args.size is not None and not SMALLEST_SIDE <= args.size <= LARGEST_PICTURE:
        raise UserError(f"--size must be from {SMALLEST_SIDE} to {LARGEST_PICTURE}, got {args.size}")
    if args.num is not None and args.num < 1:
        raise UserError(f"--num must be at least 1, got {args.num}")
    if not 0 <= args.seed < 1 << 63:
        raise UserError(f"--seed must be from 0 to 2^63 - 1, got {args.seed}")
    _check_metrics(args)
    source = _source(args)
    own = [*([f"{args.size}px"] if args.size else []), *(args.masks or ())]
    how = [*(args.metrics or ()), *own, f"n{args.num or 'all'}", args.window, f"seed{args.seed}"]
    model = source.model
    out = record_path(args, model.run, model.step, [*filter(None, [model.name]), source.split, *how])
    with report() as progress:
        pipe = _pipeline(args.model, model, device)
        is_first = rank_and_count()[0] == 0
        truths = _truths(args, source, pipe.generator.config)
        check_loaded(args, model, pipe.generator, truths.dataset)
        if is_first and not has_opencv():
            print("OpenCV is not installed, so Telea's fill is left out: pip install 'attnorm[eval]'", file=sys.stderr)
        told = progress if is_first else None
        measured = {
            kind: measure_fills(
                truths, holes, lambda x, hole: _ways(pipe, x, hole), seed=args.seed, window=args.window, progress=told
            )
            for kind, holes in kinds.items()
        }
        distances = _distances(args, source, pipe, truths, kinds, device, told) if args.metrics else {}
        if is_first:
            protocol = _protocol(args, source, truths, kinds)
            record = make_inpainting_record(measured, protocol, truths.items.tolist(), distances)
            write_record(record, out)
            save_picture(_sheet(pipe, truths, kinds, args.seed), out.with_suffix(".png"))
            if args.json:
                print(out.read_text(encoding="utf-8"), end="")
                return
            print(record_table(record))
            print(f"\n{truths.count} pictures of {source.split}, {truths.size} pixels a side; mean ± deviation")
            for kind, results in distances.items():
                print(f"\ncomposites with holes of kind {kind}\n{table(results)}")
            print(f"\n{out} and {out.with_suffix('.png').name}, the first of the pictures")


def _check_metrics(args: argparse.Namespace) -> None:
    for one in find_metrics(args.metrics) if args.metrics else ():
        if one.by_class:
            raise UserError(f"{one.key} compares classes, and completed pictures have none: leave it out")


def _source(args: argparse.Namespace) -> _Source:
    model = measured_model(args.model, args.weights)
    config = model.config
    if not isinstance(config, InpaintingConfig):
        if args.data is None:
            raise UserError(f"{args.model} is no run, so that its data is not known: give --data")
        return _Source(model, args.data, None, args.split or Path(args.data).stem)
    data = args.data or config.val_data or config.data
    is_held_out = not config.val_data and place_of(data) == place_of(config.data)
    split = args.split or f"{Path(data).stem}{'-held-out' if is_held_out else ''}"
    return _Source(model, data, config if is_held_out else None, split)


def _pipeline(name: str, model: MeasuredModel, device: str) -> InpaintingPipeline:
    if model.in_checkpoint and model.run is not None and isinstance(model.config, InpaintingConfig):
        check_device(device)
        return InpaintingPipeline(load_raw_inpainter(model.run, model.config, device))
    return InpaintingPipeline.from_pretrained(name, device=device)


def _truths(args: argparse.Namespace, source: _Source, network: InpaintingGeneratorConfig) -> Truths:
    side = args.size or network.image_size
    if side % network.stride:
        raise UserError(f"--size must be a multiple of {network.stride} for this model, got {side}")
    # A larger side shows more of the image at the scale of the training.
    size = side if source.model.config is None else max(side, source.model.config.prepared_size)
    with first_process_first():
        dataset = load(source.data, size, cache=source.model.prepared)  # held-out ones are those of the run's own set
    if source.config is None:
        truths = Truths(dataset, np.arange(len(dataset)), side)
    else:
        truths = replace(source.config.validation(dataset), size=side)
    if args.num is not None and args.num > truths.count:
        raise UserError(f"--num asks for {args.num} pictures, and {source.split} has {truths.count}")
    return truths if args.num is None else truths.spread_over(args.num)


def _ways(pipe: InpaintingPipeline, pictures: np.ndarray, holes: np.ndarray) -> dict[str, np.ndarray]:
    stages = pipe.stages(pictures, holes)
    ways = {"refined": stages.refined, "coarse": stages.coarse, "mean colour": mean_colour(pictures, holes)}
    return ways | {"Telea": telea(pictures, holes)} if has_opencv() else ways


def _distances(
    args: argparse.Namespace,
    source: _Source,
    pipe: InpaintingPipeline,
    truths: Truths,
    kinds: dict[str, MaskConfig],
    device: str,
    progress: Progress | None,
) -> dict[str, list[Result]]:
    """Metrics of sets, of the refined composites against the true pictures, by kind of hole."""
    metrics = find_metrics(args.metrics)
    for one in metrics:
        if truths.count < one.fewest:
            raise UserError(f"{one.key} needs at least {one.fewest} pictures, got {truths.count}: take more")
    with first_process_first():
        extractor = load_extractor(args.extractor, device, progress)
    for one in metrics:
        if one.probabilities and not extractor.has_probabilities:
            raise UserError(f"{one.key} needs class probabilities, which {extractor.name} has not: leave it out")
    options = Options(args.seed)
    protocol = Protocol(
        model=str(args.model),
        weights=source.model.weights,
        step=source.model.step,
        data=source.data,
        split=source.split,
        num_real=truths.count,
        num_fake=truths.count,
        frequencies="data",
        seed=args.seed,
    )
    found = {}
    for kind, holes in kinds.items():
        sets = _true(truths), _completed(pipe, truths, holes, args.seed)
        values = compute_metrics(metrics, extractor, *sets, options, None, progress)
        named = {one.name_with(extractor, truths.count): values[one.key] for one in metrics}
        found[kind] = make_results(named, extractor, protocol)
    return found


def _true(truths: Truths) -> ImageSet:
    def read(start: int, stop: int) -> Tensor:
        return _as_tensor(truths.read(slice(start, stop)))

    return ImageSet(np.zeros(truths.count, np.int64), read)


def _completed(pipe: InpaintingPipeline, truths: Truths, holes: MaskConfig, seed: int) -> ImageSet:
    masks = Masks(holes, (truths.size, truths.size))

    def read(start: int, stop: int) -> Tensor:
        parts = []
        for first in range(start, stop, BATCH):
            places = range(first, min(first + BATCH, stop))
            truth, hole = truths.read(np.array(places)), masks.batch(seed, places)
            parts.append(_as_tensor(composite(truth, pipe.stages(truth, hole).refined, hole)))
        return torch.cat(parts)

    return ImageSet(np.zeros(truths.count, np.int64), read)


def _as_tensor(pictures: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)


def _protocol(
    args: argparse.Namespace, source: _Source, truths: Truths, kinds: dict[str, MaskConfig]
) -> InpaintingProtocol:
    return InpaintingProtocol(
        model=str(args.model),
        weights=source.model.weights,
        step=source.model.step,
        data=source.data,
        split=source.split,
        num=truths.count,
        size=truths.size,
        holes={kind: to_dict(masks) for kind, masks in kinds.items()},
        seed=args.seed,
        window=args.window,
    )


def _sheet(pipe: InpaintingPipeline, truths: Truths, kinds: dict[str, MaskConfig], seed: int) -> np.ndarray:
    """The first pictures with each kind of hole: input, simple fills, both stages, truth and layout."""
    count = min(SHOWN, truths.count)
    truth = np.concatenate([truths.read(slice(count))] * len(kinds))
    masks = [Masks(holes, (truths.size, truths.size)).batch(seed, range(count)) for holes in kinds.values()]
    holes = np.concatenate(masks)
    stages = pipe.stages(truth, holes)
    columns = {"input": with_holes(truth, holes)}
    if has_opencv():
        columns["Telea"] = telea(truth, holes)
    columns["coarse"] = composite(truth, stages.coarse, holes)
    columns["refined"] = composite(truth, stages.refined, holes)
    columns["truth"] = truth
    titles = [f"{kind} {number}" for kind in kinds for number in range(count)]
    return inpainting_sheet(columns, titles, next(iter(stages.layouts.values()), None))
