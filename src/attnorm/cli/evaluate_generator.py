"""`attnorm evaluate` of a class-conditional model: its images against real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attnorm.cache import cache_folder
from attnorm.cli.evaluate import Options, record_path
from attnorm.cli.measured_model import MeasuredModel, check_loaded, measured_model
from attnorm.data.loading import load
from attnorm.data.progress import report
from attnorm.errors import UserError
from attnorm.metrics.evaluation import Evaluator
from attnorm.metrics.features import load_extractor
from attnorm.metrics.pictures import Pictures
from attnorm.metrics.processes import first_process_first, rank_and_count
from attnorm.metrics.registry import find_metrics
from attnorm.metrics.result import Protocol, class_table, make_results, table, write_results
from attnorm.pipelines import ClassConditionalPipeline, check_device
from attnorm.plots import enlarge, grid, save_picture
from attnorm.training.class_conditional import ClassConditionalConfig
from attnorm.training.restore import load_raw_generator

SHOWN, COLUMNS = 64, 8
NUM = 5000  # images to generate


def evaluate_generator(source: str, options: Options, device: str) -> None:
    """Measures a generator; writes the record and the sheet, and prints a table.

    Raises:
        UserError: an option does not suit the model or its data.
    """
    metrics, num = options.metrics or ["fd"], options.num or NUM
    find_metrics(metrics)
    model = measured_model(source, options.weights)
    if model.config is not None and not isinstance(model.config, ClassConditionalConfig):
        raise UserError(f"{source} is a run of the task {model.config.task}: give a class-conditional one")
    data = model.data(options.data)
    split = options.split or Path(data).stem
    out = record_path(options, model, [split, *metrics, Path(options.extractor).stem, f"n{num}", f"seed{options.seed}"])
    pipe = _pipeline(model, device)
    with first_process_first(), report() as progress:
        extractor = load_extractor(options.extractor, device, progress)
    with first_process_first():
        dataset = load(data, pipe.generator.config.image_size, cache=model.prepared)
    check_loaded(model, options.weights, pipe.generator, dataset)
    frequencies = options.classes or "data"
    evaluator = Evaluator(
        dataset,
        pipe.class_names,
        metrics=metrics,
        extractor=extractor,
        num=num,
        num_real=num if options.num_real is None else options.num_real or None,
        frequencies=frequencies,
        seed=options.seed,
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
        frequencies=frequencies,
        seed=options.seed,
    )
    results = make_results(values, evaluator.extractor, protocol)
    write_results(results, out)
    save_picture(_sheet(evaluator.fake(draw)), out.with_suffix(".png"))
    if options.as_json:
        print(out.read_text(encoding="utf-8"), end="")
        return
    for text in (table(results), *(class_table(result) for result in results)):
        if text is not None:
            print(f"{text}\n")
    print(f"{out} and {out.with_suffix('.png').name}, the first of the images")


def _pipeline(model: MeasuredModel, device: str) -> ClassConditionalPipeline:
    if model.in_checkpoint and model.run is not None and isinstance(model.config, ClassConditionalConfig):
        check_device(device)
        return ClassConditionalPipeline(load_raw_generator(model.run, model.config, device))
    return ClassConditionalPipeline.from_pretrained(model.source, device=device)


def _sheet(fake: Pictures) -> np.ndarray:
    """The first generated images in a grid."""
    batches = [batch.permute(0, 2, 3, 1).numpy() for batch in fake.read(0, min(SHOWN, fake.count))]
    return grid(enlarge(np.concatenate(batches)), COLUMNS)
