"""What `attnorm evaluate` does: it measures a run's or a saved model's weights and writes the record."""

from __future__ import annotations

import sys
import zlib
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from attnorm import plots
from attnorm.cache import cache_folder
from attnorm.cli.evaluate import GeneratorOptions, InpainterOptions, Options
from attnorm.config import to_dict
from attnorm.data.choice import DEFAULT, Choice
from attnorm.data.dataset import ImageDataset
from attnorm.data.masks import Masks
from attnorm.data.prepare import load
from attnorm.data.sources import place_of
from attnorm.errors import UserError, counted
from attnorm.files import check_output
from attnorm.metrics.base import MetricValue
from attnorm.metrics.distributed import check_alike, main_first, rank_and_count
from attnorm.metrics.evaluation import PER_CLASS, Evaluator, find_metrics
from attnorm.metrics.features import EFFICIENTNET, load_extractor
from attnorm.metrics.inpainting import MASKS, ValidationSet, composite, mean_colour, measure_completions, telea
from attnorm.metrics.records import Protocol, make_records, table, write_records
from attnorm.metrics.reference import open_reference, write_arrays
from attnorm.models.inpainting import LARGEST_IMAGE
from attnorm.pipelines.inpainting import SMALLEST_SIDE, Stages
from attnorm.training import checkpoint
from attnorm.training.run_folder import CHECKPOINTS, MODEL, PREPARED, RECORDS, SAVED
from attnorm.training.trained import Trained

NUM = 5000  # images to generate
SHOWN_CLASSES, SHOWN_EACH = 16, 8  # on the sheet of a class-conditional model
SHOWN_COMPLETED = 8  # for each kind of mask


class Weights(Trained):
    """The weights to measure."""

    @property
    def name(self) -> str:
        """Where they are if that is not the usual place: "raw", or the name of a folder such as best."""
        saved = Path(self.source).name
        if self.kind == "raw" and self.config.ema_half_life > 0:
            return "raw"
        return saved if self.run and self.checkpoint is None and saved in SAVED and saved != MODEL else ""

    def real(self, options: Options) -> tuple[str, Choice]:
        """The data that was given, or the run's own, and what of it is read."""
        if options.data is None and self.config is None:
            raise UserError(f"{self.source} is not a run, so its data is unknown: give --data")
        own, other = self.config, options.data or self.config.evaluation_data
        given = {name: value for name, value in asdict(options.choice).items() if value is not None}
        return (str(other), options.choice) if other else (own.data, replace(own.choice, **given))

    def trains_on(self, source: tuple[str, Choice]) -> bool:
        """Whether this is the data of the run's training."""
        own = self.config
        return own is not None and (place_of(source[0]), source[1]) == (place_of(own.data), own.choice)

    def load(self, source: tuple[str, Choice], size: int, network: nn.Module) -> ImageDataset:
        """The real images, prepared beside the run if raw; UserError if processes differ in images or weights."""
        with main_first():
            cache = self.run.resolve().parent if self.run else cache_folder()
            dataset = load(source[0], size, source[1], cache=cache / PREPARED)
        weights = 0
        for value in network.state_dict().values():
            weights = zlib.crc32(value.cpu().contiguous().numpy().tobytes(), weights)
        facts = {"the checksum of the weights": weights, "the checksum of the images": dataset.checksum()}
        check_alike(facts, f"{self.source} and the images must be the same on every machine, and stay so meanwhile")
        return dataset

    def warn_if_trained_on(self, source: tuple[str, Choice], dataset: ImageDataset) -> None:
        """Says so if these are the images of the training, by their place or the checksum in the newest checkpoint."""
        if self.run is None:
            return
        is_same = self.trains_on(source)
        if not is_same:
            with suppress(UserError):  # a damaged checkpoint is the concern of `attnorm resume`
                state, _ = checkpoint.newest(self.run / CHECKPOINTS)
                is_same = state is not None and state["checksum"] == dataset.checksum()
        if is_same:
            _warn(f"{self.source} was trained on these images: the metrics do not tell memory from skill")

    def record_path(self, options: Options, *parts: str) -> Path:
        """`--out`, or a name made of the step and the parts in the run's folder metrics/."""
        out = options.out
        if out is None:
            if self.run is None:
                raise UserError(f"{self.source} is not a run to keep the record in: give --out FILE.json")
            named = [f"step-{self.step or 0:07d}", *filter(None, [self.name]), *parts, f"seed{options.seed}"]
            safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in "-".join(named))
            out = self.run / RECORDS / f"{safe}.json"
        for path in (out, out.with_suffix(".png")):
            check_output(path, options.force)
        return out


def evaluate_generator(found: Trained, options: Options, own: GeneratorOptions, device: str) -> None:
    """Measures a class-conditional model; writes the record and the sheet, and prints a table."""
    metrics, num, per_class = own.metrics or ["fd"], options.num or NUM, own.per_class or PER_CLASS
    by_class = any(one.by_class for one in find_metrics(metrics))
    if not by_class and (own.per_class or own.classes):
        raise UserError("--per-class and --classes are for intra: add intra to --metrics, or leave them out")
    if own.reference and (
        options.data
        or options.choice != DEFAULT
        or own.save_reference
        or own.num_real is not None
        or own.frequencies == "data"
    ):
        refused = "--data and what of it is read, --num-real, --save-reference and --frequencies data"
        raise UserError(f"--reference stands for the real images: leave out {refused}")
    if own.save_reference:
        check_output(own.save_reference, options.force)
    weights = Weights(*found)
    source = (str(own.reference), DEFAULT) if own.reference else weights.real(options)
    data, split = source[0], _split(source)
    network = own.extractor or EFFICIENTNET
    how = [f"per-class{per_class}", *(f"class-{label}" for label in own.classes or ())] if by_class else []
    out = weights.record_path(options, split, *metrics, Path(network).stem, f"n{num}", *how)
    pipe = weights.pipeline(device)
    with main_first():
        extractor = load_extractor(network, device)
    reference = open_reference(own.reference, extractor) if own.reference else None
    if reference is None:
        dataset = weights.load(source, pipe.generator.config.image_size, pipe.generator)
    else:
        dataset = ImageDataset(np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int64), pipe.class_names)
    is_first = rank_and_count()[0] == 0
    evaluator = Evaluator(
        dataset,
        pipe.class_names,
        metrics=metrics,
        extractor=extractor,
        num=num,
        num_real=num if own.num_real is None else own.num_real or None,
        frequencies=own.frequencies or ("uniform" if reference else "data"),
        seed=options.seed,
        per_class=per_class,
        classes=None if own.classes is None else pipe.indices(own.classes),
        cache=cache_folder() / "reference",
        reference=reference,
        show_progress=is_first,
    )

    def draw(labels: list[int], seed: int) -> np.ndarray:
        return pipe.draw(labels, seed=seed).images

    values = evaluator.measure(draw)
    arrays = evaluator.real_statistics() if reference or own.save_reference else {}
    if not is_first:
        return
    settings: dict[str, Any] = {"frequencies": evaluator.frequencies, "extractor": extractor.name}
    settings |= {"extractor_fingerprint": extractor.fingerprint, "resizer": extractor.resizer}
    if reference is None:
        settings["num_real"] = evaluator.real.count
        weights.warn_if_trained_on(source, dataset)
    elif "count" in arrays:
        settings["num_real"] = int(arrays["count"])
    if reference and not reference.is_ours:
        here = f"{extractor.name}, {extractor.resizer}"
        _warn(f"{data} does not name its network and resizer: values compare only if they are those here, {here}")
    if own.save_reference:
        write_arrays(own.save_reference, arrays, extractor)
    for name, value in values.items():
        if value.warning:
            _warn(f"{name}: {value.warning}")
    shown = pipe.indices(own.classes)[:SHOWN_CLASSES]
    images = pipe.draw([label for label in shown for _ in range(SHOWN_EACH)], seed=options.seed).images
    sheet = plots.label_grid(images, [pipe.class_names[label] for label in shown], SHOWN_EACH)
    _write(out, options, weights, values, sheet, data=data, split=split, num=num, settings=settings)


def evaluate_inpainter(found: Trained, options: Options, own: InpainterOptions, device: str) -> None:
    """Measures an inpainting model; writes the record and the sheet, and prints a table."""
    kinds = {kind: MASKS[kind] for kind in own.masks or MASKS}
    weights = Weights(*found)
    config, source = weights.config, weights.real(options)
    is_held_out = weights.trains_on(source) and not config.val_data
    split = f"{_split(source)}{'-held-out' if is_held_out else ''}"
    size = [f"{own.size}px"] if own.size else []
    out = weights.record_path(options, split, *size, *(own.masks or ()), f"n{options.num or 'all'}")
    pipe = weights.pipeline(device)
    network = pipe.generator.config
    side = own.size or network.image_size
    if not SMALLEST_SIDE <= side <= LARGEST_IMAGE or side % network.stride:
        bounds = f"from {SMALLEST_SIDE} to {LARGEST_IMAGE}"
        raise UserError(f"--size must be a multiple of {network.stride} {bounds} for this model, got {side}")
    # A larger side shows more of the image at the scale of the training.
    dataset = weights.load(source, max(side, config.prepared_size) if config else side, pipe.generator)
    validation = ValidationSet(dataset, config.held_out(len(dataset)) if is_held_out else np.arange(len(dataset)), side)
    if options.num is not None:
        if options.num > validation.count:
            raise UserError(f"--num asks for {counted(options.num, 'image')}, and there are {validation.count}")
        validation = validation.spread_over(options.num)
    is_first = rank_and_count()[0] == 0

    def complete(images: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
        return _completions(pipe.stages(images, masks), images, masks)

    values: dict[str, MetricValue] = {}
    for kind, masks in kinds.items():
        measured = measure_completions(validation, masks, complete, seed=options.seed, show_progress=is_first)
        values |= {f"{kind}/{way}": result.value(validation.items) for way, result in measured.items()}
    if not is_first:
        return
    if not is_held_out:
        weights.warn_if_trained_on(source, dataset)
    # The first images with each kind of mask: input, original, completions and layout.
    count = min(SHOWN_COMPLETED, validation.count)
    original = np.concatenate([validation.read(slice(count))] * len(kinds))
    missing = np.concatenate([Masks(kind, (side, side)).batch(options.seed, range(count)) for kind in kinds.values()])
    stages = pipe.stages(original, missing)
    columns = {"input": plots.masked_images(original, missing), "truth": original}
    for name, images in _completions(stages, original, missing).items():
        columns[name] = composite(original, images, missing)
    titles = [f"{kind} {number}" for kind in kinds for number in range(count)]
    sheet = plots.inpainting_sheet(columns, titles, next(iter(stages.layouts.values()), None))
    settings = {"size": side, "masks": {kind: to_dict(masks) for kind, masks in kinds.items()}}
    _write(out, options, weights, values, sheet, data=source[0], split=split, num=validation.count, settings=settings)


def _completions(stages: Stages, images: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
    """The images as the network and as simple methods complete them."""
    simple = {"mean colour": mean_colour(images, masks), "Telea": telea(images, masks)}
    return {"refined": stages.refined, "coarse": stages.coarse, **simple}


def _split(source: tuple[str, Choice]) -> str:
    """The name of what is read, as a part of a record's name."""
    return "-".join(filter(None, [Path(source[0]).stem, source[1].split]))


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _write(
    out: Path, options: Options, weights: Weights, values: dict[str, MetricValue], sheet: np.ndarray, **facts: Any
) -> None:
    """Writes the record and the sheet, and prints a table or the record; `facts` are fields of the protocol."""
    protocol = Protocol(model=weights.source, weights=weights.kind, step=weights.step, seed=options.seed, **facts)
    records = make_records(values, protocol)
    write_records(records, out)
    plots.save_image(sheet, out.with_suffix(".png"))
    if options.as_json:
        print(out.read_text(encoding="utf-8"), end="")
    else:
        print(f"{table(records)}\n\n{out} and {out.with_suffix('.png').name}, a sheet of images")
