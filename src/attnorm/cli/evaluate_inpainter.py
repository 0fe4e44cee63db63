"""`attnorm evaluate` of an inpainting model: completed validation images against the originals, beside simpler ways."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from attnorm.cli.evaluate import Options, record_path
from attnorm.cli.measured_model import MeasuredModel, check_loaded, measured_model
from attnorm.data.loading import load, place_of
from attnorm.data.masks import MaskConfig, Masks
from attnorm.data.progress import report
from attnorm.errors import UserError
from attnorm.inpainting_pipeline import InpaintingPipeline
from attnorm.metrics.evaluation import evaluate
from attnorm.metrics.features import load_extractor
from attnorm.metrics.fills import has_opencv, mean_colour, telea
from attnorm.metrics.inception_file import Progress
from attnorm.metrics.inpainting import BATCH, HOLES, Truths, composite, measure_fills
from attnorm.metrics.inpainting_record import (
    InpaintingProtocol,
    InpaintingRecord,
    by_picture_of,
    figures_of,
    record_table,
    write_record,
)
from attnorm.metrics.pictures import Pictures
from attnorm.metrics.processes import first_process_first, rank_and_count
from attnorm.metrics.registry import MetricValue, find_metrics
from attnorm.metrics.registry import Options as MetricOptions
from attnorm.metrics.result import Protocol, Result, make_results, table
from attnorm.pipelines import check_device
from attnorm.plots import save_picture
from attnorm.plots.inpainting import inpainting_sheet, with_holes
from attnorm.training.inpainting import InpaintingConfig
from attnorm.training.restore import load_raw_inpainter

SHOWN = 8  # images of the sheet for each kind of mask


class _Source(NamedTuple):
    """The model and its validation images. config: whose held-out images are measured; None for all of `data`."""

    model: MeasuredModel
    data: str
    config: InpaintingConfig | None
    split: str


def evaluate_inpainter(model_name: str, options: Options, device: str) -> None:
    """Measures an inpainting model; writes the record and the sheet, and prints tables.

    Raises:
        UserError: an option does not suit the model or its data.
    """
    window = options.window or "gaussian"
    for metric in find_metrics(options.metrics) if options.metrics else ():
        if metric.fewest_per_class:
            raise UserError(f"{metric.key} compares classes, and completed images have none: leave it out")
    source = _source(model_name, options)
    how = [*(options.metrics or ()), f"n{options.num or 'all'}", window, f"seed{options.seed}"]
    out = record_path(options, source.model, [source.split, *how])
    is_first = rank_and_count()[0] == 0
    with report() as progress:
        pipe = _pipeline(source.model, device)
        truths = _truths(options, source, pipe.generator.config.image_size)
        check_loaded(source.model, options.weights, pipe.generator, truths.dataset)
        if is_first and not has_opencv():
            print("OpenCV is not installed, so Telea's method is left out: pip install '.[eval]'", file=sys.stderr)
        shown = progress if is_first else None
        measured = {
            kind: measure_fills(
                truths, masks, lambda x, mask: _ways(pipe, x, mask), seed=options.seed, window=window, progress=shown
            )
            for kind, masks in HOLES.items()
        }
        distances = _distances(options, source, pipe, truths, device, shown) if options.metrics else {}
        if not is_first:
            return
        protocol = InpaintingProtocol(
            model=model_name,
            weights=source.model.weights,
            step=source.model.step,
            data=source.data,
            split=source.split,
            num=truths.count,
            size=truths.size,
            holes={kind: {"kind": masks.kind, "fraction": list(masks.fraction)} for kind, masks in HOLES.items()},
            seed=options.seed,
            window=window,
        )
        items, by_picture = truths.items.tolist(), by_picture_of(measured)
        record = InpaintingRecord(figures_of(measured), protocol, distances, items=items, by_picture=by_picture)
        write_record(record, out)
        save_picture(_sheet(pipe, truths, options.seed), out.with_suffix(".png"))
    if options.as_json:
        print(out.read_text(encoding="utf-8"), end="")
        return
    print(record_table(record))
    print(f"\n{truths.count} images of {source.split}, {truths.size} pixels a side; mean ± deviation")
    for kind, results in distances.items():
        print(f"\ncomposites with masks of kind {kind}\n{table(results)}")
    print(f"\n{out} and {out.with_suffix('.png').name}, the first of the images")


def _source(model_name: str, options: Options) -> _Source:
    model = measured_model(model_name, options.weights)
    config = model.config
    if not isinstance(config, InpaintingConfig):
        data = model.data(options.data)
        return _Source(model, data, None, options.split or Path(data).stem)
    data = str(options.data or config.val_data or config.data)
    is_held_out = not config.val_data and place_of(data) == place_of(config.data)
    split = options.split or f"{Path(data).stem}{'-held-out' if is_held_out else ''}"
    return _Source(model, data, config if is_held_out else None, split)


def _pipeline(model: MeasuredModel, device: str) -> InpaintingPipeline:
    if model.in_checkpoint and model.run is not None and isinstance(model.config, InpaintingConfig):
        check_device(device)
        return InpaintingPipeline(load_raw_inpainter(model.run, model.config, device))
    return InpaintingPipeline.from_pretrained(model.source, device=device)


def _truths(options: Options, source: _Source, side: int) -> Truths:
    size = side if source.model.config is None else source.model.config.prepared_size
    with first_process_first():
        dataset = load(source.data, size, cache=source.model.prepared)
    if source.config is None:
        truths = Truths(dataset, np.arange(len(dataset)), side)
    else:
        truths = source.config.validation(dataset)
    if options.num is not None and options.num > truths.count:
        raise UserError(f"--num asks for {options.num} images, and {source.split} has {truths.count}")
    return truths if options.num is None else truths.spread_over(options.num)


def _ways(pipe: InpaintingPipeline, images: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    """The images completed by each stage of the model and by simpler methods."""
    stages = pipe.stages(images, masks)
    ways = {"refined": stages.refined, "coarse": stages.coarse, "mean colour": mean_colour(images, masks)}
    return ways | {"Telea": telea(images, masks)} if has_opencv() else ways


def _distances(
    options: Options,
    source: _Source,
    pipe: InpaintingPipeline,
    truths: Truths,
    device: str,
    progress: Progress | None,
) -> dict[str, list[Result]]:
    """Metrics of sets, of the refined composites against the original images, by kind of mask."""
    metrics = find_metrics(options.metrics or ())
    for one in metrics:
        if truths.count < one.fewest:
            raise UserError(f"{one.key} needs at least {one.fewest} images, got {truths.count}: take more")
    with first_process_first():
        extractor = load_extractor(options.extractor, device, progress)
    for one in metrics:
        if one.probabilities and not extractor.has_probabilities:
            raise UserError(f"{one.key} needs class probabilities, which {extractor.name} has not: leave it out")
    protocol = Protocol(
        model=source.model.source,
        weights=source.model.weights,
        step=source.model.step,
        data=source.data,
        split=source.split,
        num_real=truths.count,
        num_fake=truths.count,
        frequencies="data",
        seed=options.seed,
    )
    found = {}
    for kind, masks in HOLES.items():
        sets = _original(truths), _completed(pipe, truths, masks, options.seed)
        metric_options = MetricOptions(options.seed, "cpu", ())
        values: dict[str, MetricValue] = evaluate(metrics, extractor, *sets, metric_options, None, progress)
        found[kind] = make_results(values, extractor, protocol)
    return found


def _original(truths: Truths) -> Pictures:
    def read(start: int, stop: int) -> Iterator[Tensor]:
        for first in range(start, stop, BATCH):
            yield _as_tensor(truths.read(slice(first, min(first + BATCH, stop))))

    return Pictures(np.zeros(truths.count, np.int64), read)


def _completed(pipe: InpaintingPipeline, truths: Truths, kind: MaskConfig, seed: int) -> Pictures:
    masks = Masks(kind, (truths.size, truths.size))

    def read(start: int, stop: int) -> Iterator[Tensor]:
        for first in range(start, stop, BATCH):
            places = range(first, min(first + BATCH, stop))
            original, mask = truths.read(np.array(places)), masks.batch(seed, places)
            yield _as_tensor(composite(original, pipe.stages(original, mask).refined, mask))

    return Pictures(np.zeros(truths.count, np.int64), read)


def _as_tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def _sheet(pipe: InpaintingPipeline, truths: Truths, seed: int) -> np.ndarray:
    """The first images with each kind of mask: input, a simple method, both stages, original and layout."""
    count = min(SHOWN, truths.count)
    original = np.concatenate([truths.read(slice(count))] * len(HOLES))
    masks = np.concatenate(
        [Masks(kind, (truths.size, truths.size)).batch(seed, range(count)) for kind in HOLES.values()]
    )
    stages = pipe.stages(original, masks)
    columns = {"input": with_holes(original, masks)}
    if has_opencv():
        columns["Telea"] = telea(original, masks)
    columns["coarse"] = composite(original, stages.coarse, masks)
    columns["refined"] = composite(original, stages.refined, masks)
    columns["truth"] = original
    titles = [f"{kind} {number}" for kind in HOLES for number in range(count)]
    return inpainting_sheet(columns, titles, next(iter(stages.layouts.values()), None))
