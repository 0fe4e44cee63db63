"""`attnorm evaluate` of a class-conditional model: its images against real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attnorm import plots
from attnorm.cache import cache_folder
from attnorm.cli.evaluate import Options, record_path
from attnorm.cli.measured_model import check_loaded, data_of, measured_model
from attnorm.data.loading import load
from attnorm.data.progress import report
from attnorm.errors import UserError
from attnorm.metrics.evaluation import PER_CLASS, Evaluator
from attnorm.metrics.features import load_extractor
from attnorm.metrics.pictures import LARGEST_COUNT
from attnorm.metrics.processes import first_process_first, rank_and_count
from attnorm.metrics.registry import find_metrics
from attnorm.metrics.result import Protocol, class_table, make_results, table, write_results
from attnorm.pipelines import ClassConditionalPipeline, check_device
from attnorm.training.restore import load_raw_generator

SHOWN, COLUMNS = 64, 8
NUM = 5000  # images to generate


def evaluate_generator(source: str, options: Options, device: str) -> None:
    """Measures a generator; writes the record and the sheet, and prints a table.

    Raises:
        UserError: an option does not suit the model or its data.
    """
    metrics, num, per_class = options.metrics or ["fd"], options.num or NUM, options.per_class or PER_CLASS
    by_class = any(one.by_class for one in find_metrics(metrics))
    if not by_class and (options.per_class or options.classes):
        raise UserError("--per-class and --classes are for intra: add intra to --metrics, or leave them out")
    if num > LARGEST_COUNT:
        raise UserError(f"--num must be at most {LARGEST_COUNT}, got {num}")
    model = measured_model(source, options.weights)
    data = data_of(model, options.data)
    split = options.split or Path(data).stem
    how = [split, *metrics, Path(options.extractor).stem, f"n{num}"]
    if by_class:
        how += [f"per-class{per_class}", *(f"class-{label}" for label in options.classes or ())]
    out = record_path(options, model, how)
    check_device(device)
    if model.name == "raw":
        pipe = ClassConditionalPipeline(load_raw_generator(model.run, model.config, device))
    else:
        pipe = ClassConditionalPipeline.from_pretrained(source, device=device)
    with first_process_first(), report() as progress:
        extractor = load_extractor(options.extractor, device, progress)
    with first_process_first():
        dataset = load(data, pipe.generator.config.image_size, cache=model.prepared)
    check_loaded(model, pipe.generator, dataset)
    evaluator = Evaluator(
        dataset,
        pipe.class_names,
        metrics=metrics,
        extractor=extractor,
        num=num,
        num_real=num if options.num_real is None else options.num_real or None,
        frequencies=options.frequencies or "data",
        seed=options.seed,
        per_class=per_class,
        classes=None if options.classes is None else pipe.indices(options.classes),
        cache=cache_folder() / "reference",
        device=device,
    )
    is_first = rank_and_count()[0] == 0

    def draw(labels: list[int], seed: int) -> np.ndarray:
        return pipe.draw(labels, seed=seed).pictures

    with report() as progress:
        values = evaluator.measure(draw, progress if is_first else None)
    if not is_first:
        return
    protocol = Protocol(
        model=source,
        weights=model.weights,
        step=model.step,
        data=data,
        split=split,
        num_real=evaluator.real.count,
        num_fake=num,
        frequencies=options.frequencies or "data",
        seed=options.seed,
    )
    results = make_results(values, evaluator.extractor, protocol)
    write_results(results, out)
    fake = evaluator.fake(draw)
    shown = [batch.permute(0, 2, 3, 1).numpy() for batch in fake.read(0, min(SHOWN, fake.count))]
    plots.save_picture(plots.grid(plots.enlarge(np.concatenate(shown)), COLUMNS), out.with_suffix(".png"))
    if options.as_json:
        print(out.read_text(encoding="utf-8"), end="")
        return
    for text in (table(results), *map(class_table, results)):
        if text is not None:
            print(f"{text}\n")
    print(f"{out} and {out.with_suffix('.png').name}, the first of the images")
