"""What `attnorm evaluate` does: it measures a run's or a saved model's weights and writes the record."""

from __future__ import annotations

import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn

from attnorm import plots
from attnorm.cache import cache_folder
from attnorm.cli.evaluate import Options
from attnorm.config import nearest, to_dict
from attnorm.data.dataset import ImageDataset
from attnorm.data.loading import load, place_of
from attnorm.data.masks import MaskConfig, Masks
from attnorm.errors import UserError
from attnorm.files import check_output
from attnorm.metrics import records
from attnorm.metrics.distributed import check_alike, main_first, rank_and_count
from attnorm.metrics.evaluation import PER_CLASS, Evaluator, find_metrics
from attnorm.metrics.features import load_extractor
from attnorm.metrics.inpainting import (
    MASKS,
    ValidationSet,
    composite,
    has_opencv,
    mean_colour,
    measure_completions,
    telea,
)
from attnorm.models.inpainting import LARGEST_IMAGE
from attnorm.models.pretrained import find_model, step_of
from attnorm.pipelines.class_conditional import ClassConditionalPipeline
from attnorm.pipelines.inpainting import SMALLEST_SIDE, InpaintingPipeline
from attnorm.plots.layouts import inpainting_sheet, masked_images
from attnorm.shipped import CONFIG_FILE
from attnorm.training.checkpoint import latest_step
from attnorm.training.loop import read_config
from attnorm.training.restore import load_raw_generator, load_raw_inpainter
from attnorm.training.run_folder import CHECKPOINTS, CONFIG, MODEL, PREPARED, SAVED

NUM = 5000  # images to generate
SHOWN, COLUMNS = 64, 8  # generated images on the sheet
SHOWN_COMPLETED = 8  # for each kind of mask


class Weights(NamedTuple):
    """The weights to measure.

    run, config: which they are a part of; None for a model from elsewhere, whose weights may be averaged or not.
    step: of training, None if unknown.
    name: "raw" for weights that are in the newest checkpoint only, else the folder's name unless it is the usual one.
    """

    source: str
    run: Path | None
    config: Any
    kind: Literal["ema", "raw", "unknown"]
    step: int | None
    name: str = ""

    def data(self, given: str | Path | None) -> str:
        """The data that was given, or the run's own."""
        if given is None and self.config is None:
            raise UserError(f"{self.source} is not a run, so its data is unknown: give --data")
        return str(self.config.data if given is None else given)

    def load(self, data: str, size: int) -> ImageDataset:
        """The real images; raw ones are prepared beside the run, for its neighbours too."""
        with main_first():
            return load(data, size, cache=(self.run.resolve().parent if self.run else cache_folder()) / PREPARED)

    def check_alike(self, network: nn.Module, dataset: ImageDataset) -> None:
        """Raises a UserError if some process has other weights or images. All must call it together."""
        checksum = 0
        for value in network.state_dict().values():
            checksum = zlib.crc32(value.cpu().contiguous().flatten().view(torch.uint8).numpy(), checksum)
        facts = {
            "the step of the model": self.step,
            "the checksum of its weights": f"{checksum:08x}",
            "the number of images": len(dataset),
            "their checksum": f"{dataset.checksum():08x}",
        }
        check_alike(facts, f"{self.source} and the images must be the same on every machine, and stay so meanwhile")

    def record_path(self, options: Options, *parts: str) -> Path:
        """`--out`, or a name made of the step and the parts in the run's folder metrics/."""
        out = options.out
        if out is None:
            if self.run is None:
                raise UserError(f"{self.source} is not a run to keep the record in: give --out FILE.json")
            named = [f"step-{self.step or 0:07d}", *filter(None, [self.name]), *parts, f"seed{options.seed}"]
            safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in "-".join(named))
            out = self.run / "metrics" / f"{safe}.json"
        if out.suffix != ".json":
            raise UserError(f"{out}: the name of the record must end in .json")
        for path in (out, out.with_suffix(".png")):
            check_output(path, options.force)
        return out


def find_weights(source: str, choice: Literal["ema", "raw"] | None) -> Weights:
    """What is known about a run, one of its folders with a saved model, or a model from elsewhere.

    Raises:
        UserError: the chosen weights are not there.
    """
    path = Path(source)
    is_part = path.name in SAVED and (path / CONFIG_FILE).is_file() and (path.parent / CONFIG).is_file()
    run = path.parent if is_part else path
    if not (run / CONFIG).is_file():
        if choice is not None:
            raise UserError(f"--weights chooses among those of a run, and {source} is none: leave it out")
        return Weights(source, None, None, "unknown", step_of(find_model(source)))
    config: Any = read_config(run)
    kind: Literal["ema", "raw"] = "ema" if config.ema_half_life > 0 else "raw"
    if choice == "ema" and kind == "raw":
        raise UserError(f"{run} was trained with ema_half_life 0 and has no averaged weights: leave --weights out")
    if choice == "raw" and kind == "ema":
        step = latest_step(run / CHECKPOINTS)
        if is_part or step is None:
            raise UserError(f"{source} has no raw weights: they are in the checkpoints of a run")
        return Weights(source, run, config, "raw", step, "raw")
    name = path.name if is_part else MODEL
    return Weights(source, run, config, kind, step_of(run / name), "" if name == MODEL else name)


def evaluate_generator(source: str, options: Options, device: str) -> None:
    """Measures a class-conditional model; writes the record and the sheet, and prints a table.

    Raises:
        UserError: an option does not suit the model or its data.
    """
    metrics, num, per_class = options.metrics or ["fd"], options.num or NUM, options.per_class or PER_CLASS
    by_class = any(one.by_class for one in find_metrics(metrics))
    if not by_class and (options.per_class or options.classes):
        raise UserError("--per-class and --classes are for intra: add intra to --metrics, or leave them out")
    weights = find_weights(source, options.weights)
    data = weights.data(options.data)
    how = [f"per-class{per_class}", *(f"class-{label}" for label in options.classes or ())] if by_class else []
    split = Path(data).stem
    out = weights.record_path(options, split, *metrics, Path(options.extractor).stem, f"n{num}", *how)
    if weights.run is not None and weights.name == "raw":
        pipe = ClassConditionalPipeline(load_raw_generator(weights.run, weights.config, device))
    else:
        pipe = ClassConditionalPipeline.from_pretrained(source, device=device)
    with main_first():
        extractor = load_extractor(options.extractor, device)
    dataset = weights.load(data, pipe.generator.config.image_size)
    weights.check_alike(pipe.generator, dataset)
    frequencies = options.frequencies or "data"
    evaluator = Evaluator(
        dataset,
        pipe.class_names,
        metrics=metrics,
        extractor=extractor,
        num=num,
        num_real=num if options.num_real is None else options.num_real or None,
        frequencies=frequencies,
        seed=options.seed,
        per_class=per_class,
        classes=None if options.classes is None else pipe.indices(options.classes),
        cache=cache_folder() / "reference",
        device=device,
    )
    is_first = rank_and_count()[0] == 0

    def draw(labels: list[int], seed: int) -> np.ndarray:
        return pipe.draw(labels, seed=seed).images

    values = evaluator.measure(draw, show_progress=is_first)
    if not is_first:
        return
    protocol = records.Protocol(
        model=source,
        weights=weights.kind,
        step=weights.step,
        data=data,
        split=split,
        num=num,
        seed=options.seed,
        settings={
            "num_real": evaluator.real.count,
            "frequencies": frequencies,
            "extractor": extractor.name,
            "extractor_fingerprint": extractor.fingerprint,
            "resizer": extractor.resizer,
        },
    )
    measured = records.make_records(values, protocol)
    records.write_records(measured, out)
    shown = evaluator.fake(draw).read(0, min(SHOWN, num)).permute(0, 2, 3, 1).numpy()
    plots.save_image(plots.grid(plots.enlarge(shown), COLUMNS), out.with_suffix(".png"))
    _print(options, out, records.table(measured))


def evaluate_inpainter(source: str, options: Options, device: str) -> None:
    """Measures an inpainting model; writes the record and the sheet, and prints a table.

    Raises:
        UserError: an option does not suit the model or its data.
    """
    for kind in options.masks or ():
        if kind not in MASKS:
            raise UserError(f"unknown kind of masks {kind!r}{nearest(kind, MASKS)}: choose from {', '.join(MASKS)}")
    kinds = {kind: MASKS[kind] for kind in options.masks or MASKS}
    window = options.window or "gaussian"
    weights = find_weights(source, options.weights)
    config = weights.config
    data = weights.data(options.data or (config and config.val_data) or None)
    is_held_out = config is not None and not config.val_data and place_of(data) == place_of(config.data)
    split = f"{Path(data).stem}{'-held-out' if is_held_out else ''}"
    own = [*([f"{options.size}px"] if options.size else []), *(options.masks or ())]
    out = weights.record_path(options, split, *own, f"n{options.num or 'all'}", window)
    if weights.run is not None and weights.name == "raw":
        pipe = InpaintingPipeline(load_raw_inpainter(weights.run, config, device))
    else:
        pipe = InpaintingPipeline.from_pretrained(source, device=device)
    validation = _validation(options, weights, pipe, data, is_held_out)
    weights.check_alike(pipe.generator, validation.dataset)
    is_first = rank_and_count()[0] == 0
    if is_first and not has_opencv():
        print("OpenCV is not installed, so Telea's method is left out: pip install '.[train]'", file=sys.stderr)

    def complete(images: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
        stages = pipe.stages(images, masks)
        ways = {"refined": stages.refined, "coarse": stages.coarse, "mean colour": mean_colour(images, masks)}
        return ways | {"Telea": telea(images, masks)} if has_opencv() else ways

    measured = {
        f"{kind}/{way}": reconstruction.value(validation.items)
        for kind, masks in kinds.items()
        for way, reconstruction in measure_completions(
            validation, masks, complete, seed=options.seed, window=window, show_progress=is_first
        ).items()
    }
    if not is_first:
        return
    protocol = records.Protocol(
        model=source,
        weights=weights.kind,
        step=weights.step,
        data=data,
        split=split,
        num=validation.count,
        seed=options.seed,
        settings={
            "size": validation.size,
            "window": window,
            "masks": {kind: to_dict(masks) for kind, masks in kinds.items()},
        },
    )
    found = records.make_records(measured, protocol)
    records.write_records(found, out)
    plots.save_image(_sheet(pipe, validation, kinds, options.seed), out.with_suffix(".png"))
    _print(options, out, records.table(found))


def _print(options: Options, out: Path, text: str) -> None:
    if options.as_json:
        print(out.read_text(encoding="utf-8"), end="")
    else:
        print(f"{text}\n\n{out} and {out.with_suffix('.png').name}, the first of the images")


def _validation(
    options: Options, weights: Weights, pipe: InpaintingPipeline, data: str, is_held_out: bool
) -> ValidationSet:
    """The validation images."""
    network, config = pipe.generator.config, weights.config
    side = options.size or network.image_size
    if not SMALLEST_SIDE <= side <= LARGEST_IMAGE or side % network.stride:
        bounds = f"from {SMALLEST_SIDE} to {LARGEST_IMAGE}"
        raise UserError(f"--size must be a multiple of {network.stride} {bounds} for this model, got {side}")
    # A larger side shows more of the image at the scale of the training.
    dataset = weights.load(data, side if config is None else max(side, config.prepared_size))
    validation = ValidationSet(dataset, np.arange(len(dataset)), side)
    if is_held_out:
        validation = replace(config.validation(dataset), size=side)
    if options.num is not None and options.num > validation.count:
        raise UserError(f"--num asks for {options.num} images, and there are {validation.count}")
    return validation if options.num is None else validation.spread_over(options.num)


def _sheet(pipe: InpaintingPipeline, validation: ValidationSet, kinds: dict[str, MaskConfig], seed: int) -> np.ndarray:
    """The first images with each kind of mask: input, a simple method, both stages, original and layout."""
    count = min(SHOWN_COMPLETED, validation.count)
    original = np.concatenate([validation.read(slice(count))] * len(kinds))
    shape = validation.size, validation.size
    masks = np.concatenate([Masks(kind, shape).batch(seed, range(count)) for kind in kinds.values()])
    stages = pipe.stages(original, masks)
    columns = {"input": masked_images(original, masks)}
    if has_opencv():
        columns["Telea"] = telea(original, masks)
    columns["coarse"] = composite(original, stages.coarse, masks)
    columns["refined"] = composite(original, stages.refined, masks)
    columns["truth"] = original
    titles = [f"{kind} {number}" for kind in kinds for number in range(count)]
    return inpainting_sheet(columns, titles, next(iter(stages.layouts.values()), None))
