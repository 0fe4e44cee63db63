"""The work of `attnorm evaluate`: measures the weights of a run or a saved model, and writes the record."""

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
from attnorm.data.choice import DEFAULT, Choice
from attnorm.data.dataset import ImageDataset, is_prepared, read_info
from attnorm.data.decode import DecodeError, open_upright
from attnorm.data.masks import Masks
from attnorm.data.prepare import load
from attnorm.data.sources import open_source
from attnorm.errors import UserError
from attnorm.files import check_output
from attnorm.metrics.distributed import check_alike, main_first, rank_and_count
from attnorm.metrics.evaluation import PER_CLASS, Evaluator
from attnorm.metrics.features import EFFICIENTNET, load_extractor
from attnorm.metrics.image_sets import RealImages
from attnorm.metrics.inpainting import MASKS, composite, mean_colour, measure_completions, telea
from attnorm.metrics.records import MetricValue, Protocol, make_records, table, write_records
from attnorm.metrics.statistics import open_reference, write_statistics
from attnorm.models.pretrained import is_image_set
from attnorm.training.run_folder import PREPARED, RECORDS
from attnorm.training.trained import Trained

NUM = 5000  # images to generate
SHOWN_CLASSES, SHOWN_EACH = 16, 8  # on the sheet of a class-conditional model
SHOWN_COMPLETED = 8  # for each kind of mask
SEEN = "{} was trained on these images: the metrics do not distinguish memorization from generalization"
Source = tuple[str, Choice]  # data, and what of it is read
Values = dict[str, MetricValue]


def evaluate_generator(model: Trained, options: Options, own: GeneratorOptions, device: str) -> None:
    """Evaluates a class-conditional model, or given images; writes the record and the sheet, and prints a table."""
    metrics, num, per_class = own.metrics or ["fd"], options.num or NUM, own.per_class or PER_CLASS
    if "intra" not in metrics and (own.per_class or own.classes):
        raise UserError("--per-class and --classes are for intra: add intra to --metrics, or leave them out")
    of_images = (options.data, own.save_reference, own.num_real, *asdict(options.choice).values())
    if own.reference and (own.frequencies == "data" or any(value is not None for value in of_images)):
        refused = "--data and what of it is read, --num-real, --save-reference and --frequencies data"
        raise UserError(f"--reference replaces the real images: leave out {refused}")
    if own.save_reference:
        check_output(own.save_reference, options.force)
    source = (str(own.reference), DEFAULT) if own.reference else _source(model, options)
    split, network = _split(source), own.extractor or EFFICIENTNET
    how = [f"per-class{per_class}", *(own.classes or ())] if "intra" in metrics else []
    out = _record_path(model, options, split, *metrics, Path(network).stem, f"n{num}", *how)
    pipe: Any = None
    images: Any = None
    if is_image_set(model.source):
        images = _load(model, (model.source, DEFAULT), options.size or _side(model.source, source[0]))
        names, side, num, all_real = images.class_names, images.size, options.num or len(images), 0
    else:
        pipe = model.pipeline(device)
        names, side, all_real = pipe.class_names, pipe.generator.config.image_size, num
    with main_first():
        extractor = load_extractor(network, device)
    reference = open_reference(own.reference, extractor) if own.reference else None
    dataset = None if reference else _load(model, source, side, pipe and pipe.generator)
    evaluator = Evaluator(
        dataset,
        names,
        metrics,
        extractor,
        num=num,
        num_real=(all_real if own.num_real is None else own.num_real) or None,
        frequencies=own.frequencies or ("data" if pipe and not reference else "uniform"),
        seed=options.seed,
        per_class=per_class,
        classes=pipe.indices(own.classes) if pipe and own.classes else None,
        cache=cache_folder() / "reference",
        reference=reference,
        show_progress=True,
    )
    values = evaluator.measure(images or (lambda labels, seed: pipe.draw(labels, seed=seed).images))
    if own.save_reference:
        real = evaluator.real_statistics()
        if rank_and_count()[0] == 0:
            write_statistics(own.save_reference, real, extractor)
    warnings = [f"{name}: {value.warning}" for name, value in values.items() if value.warning]
    if dataset and model.has_seen(*source, dataset):
        warnings.append(SEEN.format(model.source))
    if reference and not reference.network:
        warnings.append(f"{own.reference} names no network: it must be {extractor.name}, {extractor.resizer}")
    shown = pipe.indices(own.classes)[:SHOWN_CLASSES] if pipe else []
    labels = [label for label in shown for _ in range(SHOWN_EACH)]
    drawn = pipe.draw(labels, seed=options.seed).images if pipe else images.images[: SHOWN_EACH**2]
    sheet = plots.label_grid(drawn, [names[label] for label in shown], SHOWN_EACH)
    settings = evaluator.settings() | {"size": side} | ({"checksum": dataset.checksum()} if dataset else {})
    facts = {"data": source[0], "split": split, "num": num, "seed": options.seed, "settings": settings}
    _write(model, out, values, warnings, sheet, **facts)


def evaluate_inpainter(model: Trained, options: Options, own: InpainterOptions, device: str) -> None:
    """Evaluates an inpainting model; writes the record and the sheet, and prints a table."""
    kinds = {kind: MASKS[kind] for kind in own.masks or MASKS}
    config, source = model.config, _source(model, options)
    is_held_out = model.is_own_data(*source) and not config.val_data
    split = f"{_split(source)}{'-held-out' if is_held_out else ''}"
    size = [f"{options.size}px"] if options.size else []
    out = _record_path(model, options, split, *size, *(own.masks or ()), f"n{options.num or 'all'}")
    pipe = model.pipeline(device)
    side = options.size or pipe.generator.config.image_size
    # A larger side shows more of the image at the scale of the training, which a model without its run does not know.
    short_side = max(side, config.prepared_size) if config else side
    dataset = _load(model, source, short_side, pipe.generator)
    items = config.held_out(len(dataset)) if is_held_out else np.arange(len(dataset))
    images = RealImages(dataset, items, side).spread_over(options.num or len(items))

    def complete(original: np.ndarray, missing: np.ndarray) -> dict[str, np.ndarray]:
        stages = pipe.stages(original, missing)
        simple = {"mean colour": mean_colour(original, missing), "Telea": telea(original, missing)}
        return {"refined": stages.refined, "coarse": stages.coarse, **simple}

    values: Values = {}
    # The sheet has the first images with each kind of mask.
    count, parts, layouts = min(SHOWN_COMPLETED, images.count), list[dict[str, np.ndarray]](), list[np.ndarray]()
    original = images.read(0, count)
    for kind, masks in kinds.items():
        measured = measure_completions(images, masks, complete, seed=options.seed, show_progress=True)
        values |= {f"{kind}/{way}": result.value(images.items) for way, result in measured.items()}
        missing = Masks(masks, (side, side)).batch(options.seed, range(count))
        completed = {way: composite(original, made, missing) for way, made in complete(original, missing).items()}
        parts.append({"input": plots.masked_images(original, missing), "truth": original} | completed)
        layouts += pipe.stages(original, missing).layouts.values()
    titles = [f"{kind} {number}" for kind in kinds for number in range(count)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    sheet = plots.inpainting_sheet(columns, titles, np.concatenate(layouts) if layouts else None)
    masks_used = {kind: masks.model_dump(mode="json") for kind, masks in kinds.items()}
    settings = {"size": side, "short_side": short_side, "masks": masks_used, "checksum": dataset.checksum()}
    facts = {"data": source[0], "split": split, "num": images.count, "seed": options.seed, "settings": settings}
    warnings = [SEEN.format(model.source)] if not is_held_out and model.has_seen(*source, dataset) else []
    _write(model, out, values, warnings, sheet, **facts)


def _side(source: str, data: str) -> int:
    """That of a prepared set; else the shorter one of the first image, at most that of Inception's input."""
    if prepared := [Path(place) for place in (source, data) if is_prepared(Path(place))]:
        return read_info(prepared[0]).size
    raw = open_source(source)
    for _, content in raw.read():
        with suppress(DecodeError):
            return min(*(content.shape[:2] if isinstance(content, np.ndarray) else open_upright(content).size), 299)
    return 1  # `load` says what is wrong with the images


def _source(model: Trained, options: Options) -> Source:
    """The given data or the run's own, and the split and columns to read."""
    if options.data is None and model.config is None:
        raise UserError(f"{model.source} is not a run, so its data is unknown: give --data")
    own, other = model.config, options.data or model.config.evaluation_data
    given = {name: value for name, value in asdict(options.choice).items() if value is not None}
    return (str(other), options.choice) if other else (own.data, replace(own.choice, **given))


def _split(source: Source) -> str:
    """The name of the split, as part of a record's name."""
    return "-".join(filter(None, [Path(source[0]).stem, source[1].split]))


def _record_path(model: Trained, options: Options, *parts: str) -> Path | None:
    """`--out`, or a name made of the step and the parts in the run's folder metrics/; None without a run."""
    name = "-".join([f"step-{model.step or 0:07d}", model.kind, *parts, f"seed{options.seed}"])
    out = options.out or (model.run and Path(model.run, RECORDS, f"{name.replace('/', '-')}.json"))
    for path in (out, out.with_suffix(".png")) if out else ():
        check_output(path, options.force)
    return out


def _load(model: Trained, source: Source, size: int, network: nn.Module | None = None) -> ImageDataset:
    """Images, prepared beside the run if raw; UserError if processes differ in images or weights."""
    with main_first():
        cache = model.run.resolve().parent if model.run else cache_folder()
        dataset = load(source[0], size, source[1], cache=cache / PREPARED)
    tensors = network.state_dict().values() if network else ()
    weights = zlib.crc32(b"".join(value.cpu().contiguous().numpy().tobytes() for value in tensors))
    facts = {"the checksum of the weights": weights, "the checksum of the images": dataset.checksum()}
    check_alike(facts, f"{model.source} and the images must be the same on every machine, and stay so meanwhile")
    return dataset


def _write(
    model: Trained, out: Path | None, values: Values, warnings: list[str], sheet: np.ndarray, **facts: Any
) -> None:
    """The main process writes the record and the sheet, and prints a table; `facts` are fields of the protocol."""
    if rank_and_count()[0] > 0:
        return
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    protocol = Protocol(model=model.source, weights=model.kind, step=model.step, **facts)
    records = make_records(values, protocol)
    print(f"{table(records)}\n")
    if out is None:
        print(f"{model.source} is not a run: --out FILE.json writes a record and a sheet of images")
        return
    write_records(records, out)
    plots.save_image(sheet, out.with_suffix(".png"))
    print(f"{out} and {out.with_suffix('.png').name}, a sheet of images")
