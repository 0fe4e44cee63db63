"""`attnorm evaluate` of a class-conditional model: its pictures against real ones."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attnorm.cache import cache_folder
from attnorm.cli.measured_model import MeasuredModel, check_loaded, measured_model
from attnorm.cli.records import record_path
from attnorm.data.loading import load
from attnorm.data.progress import report
from attnorm.distributed import first_process_first, rank_and_count
from attnorm.errors import UserError
from attnorm.metrics.base import MetricValue
from attnorm.metrics.evaluation import PER_CLASS, Evaluator
from attnorm.metrics.features import load_extractor
from attnorm.metrics.images import LARGEST_COUNT, ImageSet
from attnorm.metrics.records import Protocol, class_table, make_results, table, write_results
from attnorm.metrics.registry import find_metrics
from attnorm.models.pretrained import find_model
from attnorm.pipelines import LARGEST_SEED, ClassConditionalPipeline, check_device
from attnorm.plots import enlarge, grid, save_picture
from attnorm.training.class_conditional import ClassConditionalConfig
from attnorm.training.restore import load_raw_generator

SHOWN, COLUMNS = 64, 8
NUM = 5000  # pictures to generate


def configure(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument("--num-real", type=int, metavar="N", help="real pictures, 0 for all (default: as --num)")
    parser.add_argument(
        "--frequencies",
        choices=("data", "uniform"),
        help="how often each class is generated: as in the real pictures (default), or all alike",
    )
    parser.add_argument(
        "--per-class", type=int, metavar="N", help=f"of intra: images to generate of each class (default {PER_CLASS})"
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="CLASS",
        help="of intra: names or numbers of the classes to measure (default: all), such as 825 974 for Table 2",
    )


class _Source(NamedTuple):
    """What is measured, and the real pictures that it is measured against."""

    model: MeasuredModel
    data: str
    split: str


def run(args: argparse.Namespace, device: str) -> None:
    args.num = NUM if args.num is None else args.num
    args.metrics, args.frequencies = args.metrics or ["fd"], args.frequencies or "data"
    _check_numbers(args)
    by_class = any(one.by_class for one in find_metrics(args.metrics))
    _check_by_class(args, by_class)
    find_model(args.model)
    source = _source(args)
    how = [*args.metrics, Path(args.extractor).stem, f"n{args.num}", f"seed{args.seed}"]
    if by_class:
        how += [f"per-class{args.per_class}", *(f"class-{label}" for label in args.classes or ())]
    model = source.model
    out = record_path(args, model.run, model.step, [*filter(None, [model.name]), source.split, *how])
    pipe = _pipeline(args.model, model, device)
    evaluator = _evaluator(args, source, pipe, device)
    is_first = rank_and_count()[0] == 0

    def draw(labels: list[int], seed: int) -> np.ndarray:
        return pipe.draw(labels, seed=seed).pictures

    with report() as progress:
        values = evaluator.measure(draw, progress if is_first else None)
    if is_first:
        _write(out, values, evaluator, source, args)
        save_picture(_sheet(evaluator.fake(draw)), out.with_suffix(".png"))
        if not args.json:
            print(f"{out} and {out.with_suffix('.png').name}, the first of the pictures")


def _check_numbers(args: argparse.Namespace) -> None:
    if args.num < 1:
        raise UserError(f"--num must be at least 1, got {args.num}")
    if args.num > LARGEST_COUNT:
        raise UserError(f"--num must be at most {LARGEST_COUNT}, got {args.num}")
    if args.num_real is not None and args.num_real < 0:
        raise UserError(f"--num-real must be at least 1, or 0 for all pictures, got {args.num_real}")
    if not 0 <= args.seed < LARGEST_SEED:
        raise UserError(f"--seed must be from 0 to 2^63 - 1, got {args.seed}")


def _check_by_class(args: argparse.Namespace, by_class: bool) -> None:
    if not by_class and (args.per_class is not None or args.classes is not None):
        raise UserError("--per-class and --classes are for intra: add intra to --metrics, or leave them out")
    args.per_class = PER_CLASS if args.per_class is None else args.per_class


def _source(args: argparse.Namespace) -> _Source:
    model = measured_model(args.model, args.weights)
    data: str | None = args.data
    if model.config is not None:
        if not isinstance(model.config, ClassConditionalConfig):
            raise UserError(
                f"{args.model} is a run of the task {model.config.task}, and this measures class-conditional ones"
            )
        data = model.config.data if data is None else data
    if data is None:
        raise UserError(f"{args.model} is no run, so that its data is not known: give --data")
    return _Source(model, data, args.split or Path(data).stem)


def _pipeline(name: str, model: MeasuredModel, device: str) -> ClassConditionalPipeline:
    if model.in_checkpoint and model.run is not None and isinstance(model.config, ClassConditionalConfig):
        check_device(device)
        return ClassConditionalPipeline(load_raw_generator(model.run, model.config, device))
    return ClassConditionalPipeline.from_pretrained(name, device=device)


def _evaluator(args: argparse.Namespace, source: _Source, pipe: ClassConditionalPipeline, device: str) -> Evaluator:
    with first_process_first(), report() as progress:
        extractor = load_extractor(args.extractor, device, progress)
    with first_process_first():
        dataset = load(source.data, pipe.generator.config.image_size, cache=source.model.prepared)
    check_loaded(args, source.model, pipe.generator, dataset)
    return Evaluator(
        dataset,
        pipe.class_names,
        metrics=args.metrics,
        extractor=extractor,
        num=args.num,
        num_real=args.num if args.num_real is None else args.num_real or None,
        frequencies=args.frequencies,
        seed=args.seed,
        per_class=args.per_class,
        classes=None if args.classes is None else pipe.indices(args.classes),
        cache=cache_folder() / "reference",
        device=device,
    )


def _write(
    out: Path, values: dict[str, MetricValue], evaluator: Evaluator, source: _Source, args: argparse.Namespace
) -> None:
    protocol = Protocol(
        model=str(args.model),
        weights=source.model.weights,
        step=source.model.step,
        data=source.data,
        split=source.split,
        num_real=evaluator.real.count,
        num_fake=args.num,
        frequencies=args.frequencies,
        seed=args.seed,
    )
    results = make_results(values, evaluator.extractor, protocol)
    write_results(results, out)
    if args.json:
        print(out.read_text(encoding="utf-8"), end="")
        return
    for text in (table(results), *(class_table(result) for result in results)):
        if text is not None:
            print(f"{text}\n")


def _sheet(fake: ImageSet) -> np.ndarray:
    """The first generated pictures in a grid."""
    images = fake.read(0, min(SHOWN, fake.count)).permute(0, 2, 3, 1).numpy()
    return grid(enlarge(images), COLUMNS)
