"""`attnorm evaluate` of an inpainting model: completed validation images beside the originals and simpler methods."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attnorm.cli.evaluate import Options, record_path
from attnorm.cli.measured_model import MeasuredModel, check_loaded, data_of, measured_model
from attnorm.config import nearest, to_dict
from attnorm.data.loading import load, place_of
from attnorm.data.masks import MaskConfig, Masks
from attnorm.data.progress import report
from attnorm.errors import UserError
from attnorm.inpainting_pipeline import SMALLEST_SIDE, InpaintingPipeline
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
from attnorm.metrics.registry import Options as MetricOptions
from attnorm.metrics.registry import find_metrics
from attnorm.metrics.result import Protocol, Result, make_results, table
from attnorm.models.inpainting import LARGEST_PICTURE
from attnorm.pipelines import check_device
from attnorm.plots import save_picture
from attnorm.plots.inpainting import inpainting_sheet, with_holes
from attnorm.training.restore import load_raw_inpainter

SHOWN = 8  # images of the sheet for each kind of mask
Kinds = dict[str, MaskConfig]


def evaluate_inpainter(source: str, options: Options, device: str) -> None:
    """Measures an inpainting model; writes the record and the sheet, and prints tables.

    Raises:
        UserError: an option does not suit the model or its data.
    """
    window = options.window or "gaussian"
    kinds: Kinds = {}
    for kind in options.masks or HOLES:
        if kind not in HOLES:
            raise UserError(f"unknown kind of masks {kind!r}{nearest(kind, HOLES)}: choose from {', '.join(HOLES)}")
        kinds[kind] = HOLES[kind]
    for metric in find_metrics(options.metrics or ()):
        if metric.by_class:
            raise UserError(f"{metric.key} compares classes, and completed images have none: leave it out")
    model = measured_model(source, options.weights)
    config = model.config
    data = str(options.data or (config and config.val_data) or data_of(model, None))
    is_held_out = config is not None and not config.val_data and place_of(data) == place_of(config.data)
    split = options.split or f"{Path(data).stem}{'-held-out' if is_held_out else ''}"
    size = [f"{options.size}px"] if options.size else []
    how = [*(options.metrics or ()), *size, *(options.masks or ()), f"n{options.num or 'all'}", window]
    out = record_path(options, model, [split, *how])
    is_first = rank_and_count()[0] == 0
    check_device(device)
    if model.name == "raw":
        pipe = InpaintingPipeline(load_raw_inpainter(model.run, config, device))
    else:
        pipe = InpaintingPipeline.from_pretrained(source, device=device)
    truths = _truths(options, model, pipe, data, is_held_out)
    check_loaded(model, pipe.generator, truths.dataset)
    if is_first and not has_opencv():
        print("OpenCV is not installed, so Telea's method is left out: pip install '.[eval]'", file=sys.stderr)

    def ways(images: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
        stages = pipe.stages(images, masks)
        found = {"refined": stages.refined, "coarse": stages.coarse, "mean colour": mean_colour(images, masks)}
        return found | {"Telea": telea(images, masks)} if has_opencv() else found

    protocol = InpaintingProtocol(
        model=source,
        weights=model.weights,
        step=model.step,
        data=data,
        split=split,
        num=truths.count,
        size=truths.size,
        holes={kind: to_dict(masks) for kind, masks in kinds.items()},
        seed=options.seed,
        window=window,
    )
    with report() as progress:
        shown = progress if is_first else None
        measured = {
            kind: measure_fills(truths, masks, ways, seed=options.seed, window=window, progress=shown)
            for kind, masks in kinds.items()
        }
        distances = _distances(options, protocol, pipe, truths, kinds, device, shown) if options.metrics else {}
    if not is_first:
        return
    items, by_picture = truths.items.tolist(), by_picture_of(measured)
    record = InpaintingRecord(figures_of(measured), protocol, distances, items=items, by_picture=by_picture)
    write_record(record, out)
    save_picture(_sheet(pipe, truths, kinds, options.seed), out.with_suffix(".png"))
    if options.as_json:
        print(out.read_text(encoding="utf-8"), end="")
        return
    print(record_table(record))
    print(f"\n{truths.count} images of {split}, {truths.size} pixels a side; mean ± deviation")
    for kind, results in distances.items():
        print(f"\ncomposites with masks of kind {kind}\n{table(results)}")
    print(f"\n{out} and {out.with_suffix('.png').name}, the first of the images")


def _truths(options: Options, model: MeasuredModel, pipe: InpaintingPipeline, data: str, is_held_out: bool) -> Truths:
    """The validation images."""
    network = pipe.generator.config
    side = options.size or network.image_size
    if not SMALLEST_SIDE <= side <= LARGEST_PICTURE or side % network.stride:
        bounds = f"from {SMALLEST_SIDE} to {LARGEST_PICTURE}"
        raise UserError(f"--size must be a multiple of {network.stride} {bounds} for this model, got {side}")
    # A larger side shows more of the image at the scale of the training.
    with first_process_first():
        size = side if model.config is None else max(side, model.config.prepared_size)
        dataset = load(data, size, cache=model.prepared)
    if is_held_out:
        truths = replace(model.config.validation(dataset), size=side)
    else:
        truths = Truths(dataset, np.arange(len(dataset)), side)
    if options.num is not None and options.num > truths.count:
        raise UserError(f"--num asks for {options.num} images, and there are {truths.count}")
    return truths if options.num is None else truths.spread_over(options.num)


def _distances(
    options: Options,
    protocol: InpaintingProtocol,
    pipe: InpaintingPipeline,
    truths: Truths,
    kinds: Kinds,
    device: str,
    progress: Progress | None,
) -> dict[str, list[Result]]:
    """Metrics of sets, of the refined composites against the original images, by kind of mask."""
    metrics = find_metrics(options.metrics or ())
    with first_process_first():
        extractor = load_extractor(options.extractor, device, progress)
    for one in metrics:
        if truths.count < one.fewest:
            raise UserError(f"{one.key} needs at least {one.fewest} images, got {truths.count}: take more")
        if one.probabilities and not extractor.has_probabilities:
            raise UserError(f"{one.key} needs class probabilities, which {extractor.name} has not: leave it out")
    about = {name: getattr(protocol, name) for name in ("model", "weights", "step", "data", "split", "seed")}
    of_sets = Protocol(**about, num_real=truths.count, num_fake=truths.count, frequencies="data")
    found = {}
    for kind, config in kinds.items():
        masks = Masks(config, (truths.size, truths.size))

        def completed(places: range, original: np.ndarray, masks: Masks = masks) -> np.ndarray:
            mask = masks.batch(options.seed, places)
            return composite(original, pipe.stages(original, mask).refined, mask)

        sets = _pictures(truths, lambda places, original: original), _pictures(truths, completed)
        values = evaluate(metrics, extractor, *sets, MetricOptions(options.seed, "cpu", ()), None, progress)
        found[kind] = make_results(values, extractor, of_sets)
    return found


def _pictures(truths: Truths, make: Callable[[range, np.ndarray], np.ndarray]) -> Pictures:
    """The set of what `make` makes of the original images at some places."""

    def read(start: int, stop: int) -> Iterator[Tensor]:
        for first in range(start, stop, BATCH):
            places = range(first, min(first + BATCH, stop))
            images = make(places, truths.read(np.array(places)))
            yield torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)

    return Pictures(np.zeros(truths.count, np.int64), read)


def _sheet(pipe: InpaintingPipeline, truths: Truths, kinds: Kinds, seed: int) -> np.ndarray:
    """The first images with each kind of mask: input, a simple method, both stages, original and layout."""
    count = min(SHOWN, truths.count)
    original = np.concatenate([truths.read(slice(count))] * len(kinds))
    shape = truths.size, truths.size
    masks = np.concatenate([Masks(kind, shape).batch(seed, range(count)) for kind in kinds.values()])
    stages = pipe.stages(original, masks)
    columns = {"input": with_holes(original, masks)}
    if has_opencv():
        columns["Telea"] = telea(original, masks)
    columns["coarse"] = composite(original, stages.coarse, masks)
    columns["refined"] = composite(original, stages.refined, masks)
    columns["truth"] = original
    titles = [f"{kind} {number}" for kind in kinds for number in range(count)]
    return inpainting_sheet(columns, titles, next(iter(stages.layouts.values()), None))
