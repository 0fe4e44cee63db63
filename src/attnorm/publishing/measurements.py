"""The figures of a model with the protocol of each, from the records that evaluations left."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from attnorm.data.loading import place_of
from attnorm.errors import UserError
from attnorm.metrics.features import EFFICIENTNET, INCEPTION
from attnorm.metrics.inpainting_record import HEADS, InpaintingProtocol, InpaintingRecord, read_record, record_table
from attnorm.metrics.result import Protocol, Result, class_table, markdown, read_results, table
from attnorm.publishing.run_facts import RunFacts
from attnorm.training.class_conditional import ClassConditionalConfig
from attnorm.training.inpainting import InpaintingConfig
from attnorm.training.run_folder import RECORDS

Record = InpaintingRecord | list[Result]  # of one evaluation
NO_FID = "A Fréchet distance with this network is no FID, and compares only with figures of the same protocol."


@dataclass(frozen=True)
class Figure:
    """One number for the hub's table of results. kind: the metric, without the numbers of its protocol. other_data: the
    name of the pictures that it was measured with, None for those of the run.
    """

    kind: str
    name: str
    value: float
    protocol: dict[str, Any]
    other_data: str | None = None


@dataclass(frozen=True)
class Measurement:
    """text: Markdown, a table and how it was measured. figures: its main ones, without those that are not finite: the
    hub's table of results has no word for them."""

    text: str
    figures: list[Figure]


def measurements(facts: RunFacts, results: Sequence[Path] = ()) -> list[Measurement]:
    """Every evaluation of the weights that are published, the fullest records first. What else lies in the run's folder
    of records is left out with a sentence.

    Args:
        results: records of `attnorm evaluate` outside the run's folder.

    Raises:
        UserError: a file of `results` cannot be read, or is about something else.
    """
    given = {path.resolve() for path in results}
    found = [_of_these_weights(path, facts) for path in results]
    for path in sorted((facts.run / RECORDS).glob("*.json")):
        if path.resolve() in given:
            continue
        try:
            record = _read(path)
        except UserError as error:
            print(f"left out of the card: {error}", file=sys.stderr)
            continue
        if _is_of_these_weights(_protocol_of(record), facts):
            found.append(record)
    measured = [
        _of_inpainting(one, facts) if isinstance(one, InpaintingRecord) else _of_generator(one, facts) for one in found
    ]
    if not measured and _named(facts):
        measured.append(_while_training(facts))
    return measured


def _read(path: Path) -> Record:
    try:
        results = read_results(path)
    except UserError:
        record = read_record(path)
        wanted = [
            "refined" in ways and all(HEADS.keys() <= figures.keys() for figures in ways.values())
            for ways in record.figures.values()
        ]
        if not all(wanted):
            raise UserError(f"{path} holds no inpainting results of attnorm evaluate: figures are missing") from None
        return record
    if not results:
        raise UserError(f"{path} holds no results")
    return results


def _of_these_weights(path: Path, facts: RunFacts) -> Record:
    """A record that names the folder of the weights, or the run at their step; to one of the folder that does not say
    which weights they are, as earlier versions left, it is added."""
    record = _read(path)
    protocol = _protocol_of(record)
    measured = Path(protocol.model).resolve()
    if measured == facts.folder.resolve() and protocol.weights == "unknown":
        known: dict[str, Any] = {"weights": facts.weights, "step": facts.step}
        if isinstance(record, InpaintingRecord):
            return replace(record, protocol=replace(record.protocol, **known))
        return [replace(one, protocol=replace(one.protocol, **known)) for one in record]
    if measured not in (facts.run.resolve(), facts.folder.resolve()) or not _is_of_these_weights(protocol, facts):
        raise UserError(
            f"{path} measured {protocol.model}, step {protocol.step}, {protocol.weights} weights, and not "
            f"{facts.folder}, step {facts.step}, {facts.weights}: "
            f"run `attnorm evaluate {shlex.quote(str(facts.folder))}`"
        )
    return record


def _is_of_these_weights(protocol: Protocol | InpaintingProtocol, facts: RunFacts) -> bool:
    return (protocol.step, protocol.weights) == (facts.step, facts.weights)


def _protocol_of(record: Record) -> Protocol | InpaintingProtocol:
    return record.protocol if isinstance(record, InpaintingRecord) else record[0].protocol


def _of_generator(results: list[Result], facts: RunFacts) -> Measurement:
    first = results[0]
    said = [
        f"Network of the features: {first.extractor}, {first.resizer} (fingerprint {first.extractor_fingerprint}).",
        f"Classes are generated {'as often as in the data' if first.protocol.frequencies == 'data' else 'all alike'}.",
    ]
    if first.extractor != INCEPTION:
        said.append(NO_FID)
    parts = [table(results), *filter(None, map(class_table, results)), " ".join(said)]
    figures = [
        Figure(
            one.metric.partition("-")[0],
            one.metric if number == 0 else f"{one.metric} {name}",
            value,
            {"extractor": one.extractor, "resizer": one.resizer, **_portable(asdict(one.protocol))},
            _other_data(one.protocol, facts),
        )
        for one in results
        for number, (name, value) in enumerate(one.values.items())
        if math.isfinite(value)
    ]
    return Measurement("\n\n".join(parts), figures)


def _of_inpainting(record: InpaintingRecord, facts: RunFacts) -> Measurement:
    p = record.protocol
    text = (
        f"{record_table(record)}\n\n{p.num} pictures of {p.split}, {p.size} pixels a side; {p.pictures}; "
        f"SSIM with the {p.window} window; holes of seed {p.seed}; mean ± deviation over pictures."
    )
    figures = [
        Figure(name, f"{name} ({kind} holes)", spread.mean, _portable(asdict(p)), _other_data(p, facts))
        for kind, ways in record.figures.items()
        for name, spread in ways["refined"].items()
        if math.isfinite(spread.mean)
    ]
    return Measurement(text, figures)


def _other_data(protocol: Protocol | InpaintingProtocol, facts: RunFacts) -> str | None:
    """The split's name of a record whose pictures are not those that the run was trained on."""
    return None if place_of(protocol.data) == place_of(facts.config.data) else protocol.split


def _while_training(facts: RunFacts) -> Measurement:
    """What the run measured itself at the step of the weights; how, its configuration says."""
    config, other = facts.config, None
    if isinstance(config, InpaintingConfig):
        other = Path(config.val_data).stem if config.val_data else None
        held_out = len(config.held_out(facts.pictures))
        of = "validation pictures of another set" if config.val_data else "pictures held out"
        num = config.val_num if config.val_data else min(config.val_num, held_out)
        how = {"pictures": f"{'at most ' * bool(config.val_data)}{num}", "data": of, "holes_seed": config.val_seed}
        how |= {"window": "gaussian"}
    else:
        measured = config.evaluation
        real = min(measured.num_real or facts.pictures, facts.pictures)
        how = {"extractor": _name_of(measured.extractor), "num_fake": measured.num, "num_real": real}
        how |= {"data": "the training pictures", "seed": 0}
    named = _named(facts)
    how = {**how, "weights": facts.weights, "step": facts.step}
    rows = [["metric", "value"], *([name, f"{value:.4g}"] for name, value in named.items())]
    said = "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in how.items())
    text = f"{markdown(rows)}\n\nMeasured while it trained: {said}."
    if isinstance(config, ClassConditionalConfig) and _name_of(config.evaluation.extractor) != INCEPTION:
        text += f" {NO_FID}"
    figures = [Figure(_kind(name), name, value, how, other) for name, value in named.items()]
    return Measurement(text, figures)


def _named(facts: RunFacts) -> dict[str, float]:
    """The figures of its evaluation that a card has: of inpainting those of the whole generator."""
    prefix = "refined." if isinstance(facts.config, InpaintingConfig) else ""
    return {name: value for name, value in facts.evaluation.items() if name.startswith(prefix)}


def _name_of(extractor: str) -> str:
    """Whatever is no name is the path of the Inception file."""
    return extractor if extractor in (EFFICIENTNET, INCEPTION) else INCEPTION


def _kind(name: str) -> str:
    """fd of fd-efficientnet-lite0-5k, psnr of refined.centre.psnr."""
    return name.rpartition(".")[2].partition("-")[0]


def _portable(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Without the paths of one machine, which say nothing to another."""
    return {name: value for name, value in protocol.items() if name not in ("model", "data")}
