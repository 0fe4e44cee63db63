"""The model card: facts from a run's records, filled into the template card.md."""

import json
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from attnorm.config import Frozen, differences
from attnorm.data.sources import place_of
from attnorm.errors import UserError
from attnorm.hub import PackageOptions
from attnorm.metrics.records import read_records, table
from attnorm.models.pretrained import step_of
from attnorm.presets import presets
from attnorm.training.config import TrainingConfig
from attnorm.training.loop import read_config

SAMPLES_FILE, LAYOUTS_FILE = "samples.png", "layouts.png"
HERE = Path(__file__).parent
BUILTIN_DATA = json.loads((HERE / "builtin_data.json").read_text(encoding="utf-8"))  # by name, fields of PackageOptions
# Fields that `attnorm train` takes from the data and the machine.
INFERRED = ("data", "device", "generator.class_names", "generator.num_classes", "discriminator.num_classes")


class Evaluation(Frozen):
    """One record of `attnorm evaluate`. text: Markdown. dataset: of the real images. sheet: samples, a file."""

    text: str
    metrics: dict[str, float]
    dataset: str
    protocol: dict[str, Any]
    sheet: Path


class Facts(Frozen):
    """The facts of a card. folder: that of the weights. step, hours: the length of the training."""

    options: PackageOptions
    folder: Path
    config: Any
    step: int
    hours: float
    evaluations: tuple[Evaluation, ...]


def read_facts(folder: Path, options: PackageOptions) -> Facts:
    """The facts of RUN/best or RUN/model. Raises UserError if a record is missing or the data is not described."""
    run, step = folder.absolute().parent, step_of(folder)
    config: Any = read_config(run)
    if step is None:
        raise UserError(f"{folder} does not record its training step: resume the run to save it again")
    options = replace(options, **BUILTIN_DATA.get(config.data, {}))
    if not (options.data_id and options.data_about and options.data_licence):
        raise UserError("the card must describe the training data: give --data-id, --data-about and --data-licence")
    evaluations = [_evaluation(path, config, options.data_id) for path in sorted((run / "metrics").glob("*.json"))]
    weights = "ema" if config.ema_half_life > 0 else "raw"
    return Facts(
        options=options,
        folder=folder,
        config=config,
        step=step,
        hours=_hours(run / "log.jsonl", step),
        evaluations=tuple(e for e in evaluations if (e.protocol["step"], e.protocol["weights"]) == (step, weights)),
    )


def make_card(facts: Facts, parameters: int, folder: Path) -> ModelCard:
    """The card of a network with this number of parameters, for a folder with its sample images."""
    inpainting = facts.config.task == "inpainting"
    tag = "image-to-image" if inpainting else "unconditional-image-generation"
    results = [
        EvalResult(
            task_type=tag,
            dataset_type=evaluation.dataset,
            dataset_name=evaluation.dataset,
            metric_type=re.split("[- ]", name)[0],
            metric_name=name,
            metric_value=value,
            metric_args={name: value for name, value in evaluation.protocol.items() if not isinstance(value, dict)},
        )
        for evaluation in facts.evaluations
        for name, value in evaluation.metrics.items()
    ]
    measured: dict[str, Any] = {"eval_results": results, "model_name": facts.options.name} if results else {}
    data = ModelCardData(
        library_name="attnorm",
        license=facts.options.licence,
        pipeline_tag=tag,
        tags=["attentive-normalization", "pytorch", "inpainting" if inpainting else "gan"],
        datasets=[facts.options.data_id],
        **measured,
    )
    images = [name for name in (SAMPLES_FILE, LAYOUTS_FILE) if (folder / name).is_file()]
    values = {"parameters": parameters, "images": images, "inpainting": inpainting, **dict(facts)}
    command = training_command(facts.config)
    return ModelCard.from_template(data, template_path=str(HERE / "card.md"), command=command, **values)


def training_command(config: TrainingConfig) -> str:
    """The `attnorm train` command of a configuration: the nearest preset and the fields that differ.

    Paths, which mean nothing on another machine, are written as capital words such as DATA or VAL_DATA.
    """
    changes: dict[str, dict[str, Any]] = {}
    for name, preset in presets().items():
        if preset.task == config.task:
            found = differences(config, preset)
            changes[name] = {field: value for field, value, _ in found if field not in INFERRED}
    nearest = min(changes, key=lambda name: len(changes[name]))
    data = config.data if config.data in BUILTIN_DATA else "DATA"
    words = ["attnorm", "train", nearest, "--data", data, "--out", "RUN"]
    for name, value in changes[nearest].items():
        values = (value or ["[]"]) if isinstance(value, list) else [value]
        words += [f"--{name}", *(_word(name, each) for each in values)]
    return shlex.join(words)


def _word(field: str, value: Any) -> str:
    if isinstance(value, str):
        return field.rpartition(".")[2].upper() if "/" in value else value
    return json.dumps(value)


def _evaluation(path: Path, config: TrainingConfig, data_id: str) -> Evaluation:
    records = read_records(path)
    protocol, text = records[0].protocol, table(records)
    if config.task == "inpainting":
        size, short_side = protocol.settings["size"], protocol.settings.get("short_side")
        cropped = f", cropped from images with a short side of {short_side}" if short_side not in (None, size) else ""
        text += f"\n\n{size} pixels a side{cropped}. 8-bit composites; means over the images."
        values = {
            f"{name} ({each.metric.removesuffix('/refined')} masks)": value
            for each in records
            for name, value in each.values.items()
            if each.metric.endswith("/refined") and not name.endswith("deviation")
        }
    else:
        values = {}
        for each in records:
            several = len(each.values.keys() - {"deviation"}) > 1
            for name, value in each.values.items():
                values[f"{each.metric} {name}" if several or name == "deviation" else each.metric] = value
    metrics = {name: value for name, value in values.items() if math.isfinite(value)}  # the Hub takes no others
    dataset = data_id if place_of(protocol.data) == place_of(config.data) else protocol.split
    how = protocol.model_dump(exclude={"model", "data", "settings"}) | protocol.settings  # without paths
    return Evaluation(text=text, metrics=metrics, dataset=dataset, protocol=how, sheet=path.with_suffix(".png"))


def _hours(log: Path, step: int) -> float:
    """The hours of training up to a step, without pauses and evaluations, from the rates in the log."""
    seconds, before = 0.0, 0
    for line in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
        if before < line["step"] <= step:
            seconds, before = seconds + (line["step"] - before) / line["steps_per_second"], line["step"]
    return seconds / 3600
