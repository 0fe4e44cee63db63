"""The card of a model: what the hub reads of it, and what a person has to know before using it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from attnorm.models.class_conditional import GeneratorConfig
from attnorm.models.inpainting import InpaintingGeneratorConfig
from attnorm.publishing.data_sheet import DataSheet
from attnorm.publishing.measurements import Measurement
from attnorm.publishing.run_facts import RunFacts
from attnorm.publishing.samples import LAYOUTS, SAMPLES
from attnorm.publishing.training_command import training_command
from attnorm.training.inpainting import InpaintingConfig

PAPER = "[Attentive Normalization for Conditional Image Generation](https://arxiv.org/abs/2004.03828) (CVPR 2020)"
TASKS = {"class-conditional": "unconditional-image-generation", "inpainting": "image-to-image"}
SYSTEMS = {"attentive_norm": "AN-GAN", "self_attention": "SA-GAN", "none": "SN-GAN"}
SHEETS = {SAMPLES: "Sample pictures", LAYOUTS: "Pictures with the layout that each one got"}
MOST_NAMED = 20  # classes
BRANCHES = {"attentive_norm": "attentive normalization", "contextual_attention": "contextual attention"}


@dataclass(frozen=True)
class Storage:
    """How the weights are stored. dtype: in words of PyTorch. difference: absolute differences in grey levels (0 to
    255) of the sample pictures from those of the weights before they were rounded; None for weights as they are.
    """

    parameters: int
    dtype: str
    difference: np.ndarray | None


@dataclass(frozen=True)
class Card:
    """Everything that goes into a card. name: of the model, as others will load it. limits: further sentences."""

    name: str
    facts: RunFacts
    data: DataSheet
    measured: Sequence[Measurement]
    storage: Storage
    sheets: Sequence[str]
    licence: str = "mit"
    limits: Sequence[str] = ()

    def __str__(self) -> str:
        return f"---\n{self.metadata().to_yaml()}\n---\n\n" + "\n\n".join(self._body()) + "\n"

    def metadata(self) -> ModelCardData:
        """The front matter: tags, and the table of results (the hub's "model-index") with the protocol of each."""
        task = TASKS[self.facts.config.task]
        figures = [figure for measurement in self.measured for figure in measurement.figures]
        results = [
            EvalResult(
                task_type=task,
                dataset_type=figure.other_data or self.data.identifier,
                dataset_name=figure.other_data or self.data.identifier,
                metric_type=figure.kind,
                metric_name=figure.name,
                metric_value=figure.value,
                metric_args=figure.protocol,
            )
            for figure in figures
        ]
        measured: dict[str, Any] = {}
        if results:
            measured = {"eval_results": results, "model_name": self.name}
            measured["metrics"] = sorted({figure.kind for figure in figures})
        return ModelCardData(
            library_name="attnorm",
            license=self.licence,
            pipeline_tag=task,
            tags=["attentive-normalization", "pytorch", "inpainting" if self._inpaints else "gan"],
            datasets=[self.data.identifier],
            **measured,
        )

    def _body(self) -> Iterator[str]:
        yield f"# {self.name}"
        yield self._summary()
        for sheet in self.sheets:
            yield f"![{SHEETS[sheet]}]({sheet})"
        yield "## Use"
        yield self._use()
        yield "## Data"
        source = f" ([source]({self.data.url}))" if self.data.url else ""
        yield f"{self.data.about}{source}. Licence of the pictures: {self.data.licence}."
        yield "## Training"
        yield from self._training()
        yield "## Figures"
        yield from (measurement.text for measurement in self.measured)
        if not self.measured:
            yield "Not measured."
        yield "## Limits"
        yield "\n".join(f"- {sentence}" for sentence in (*self._known_limits(), *self.limits))
        yield "## Licence"
        yield f"Weights: {self.licence}. The pictures that they were trained on keep their own, see above."

    @property
    def _inpaints(self) -> bool:
        return isinstance(self.facts.config, InpaintingConfig)

    def _summary(self) -> str:
        config = self.facts.config.generator
        if isinstance(config, InpaintingGeneratorConfig):
            branch = BRANCHES.get(config.branch.kind)
            what = f"completes pictures with holes, in two stages {f'with {branch}' if branch else 'of convolutions'}"
            size = f"trained at {config.image_size}×{config.image_size} pixels, {config.width} channels wide"
        else:
            what = f"draws pictures of {config.num_classes} classes: {_system(config)}'s generator"
            size = f"{config.image_size}×{config.image_size} pixels"
        parameters = f"{self.storage.parameters:,} parameters".replace(",", " ")
        return f"A network that {what}; {size}, {parameters}. Made with `attnorm`, after {PAPER}."

    def _use(self) -> str:
        name, config = self.name, self.facts.config.generator
        if isinstance(config, InpaintingGeneratorConfig):
            command = f"attnorm inpaint {name} photo.png mask.png -o completed.png   # light in the mask is missing"
            pipeline, call = "InpaintingPipeline", "picture = pipe(image, mask)  # PIL pictures of any size"
        else:
            command = f"attnorm generate {name} --count 8 -o grid.png"
            pipeline = "ClassConditionalPipeline"
            call = f"pictures = pipe(labels=[{json.dumps(class_names(config)[0])}], num_images=8, seed=0)"
        code = f'from attnorm import {pipeline}\n\npipe = {pipeline}.from_pretrained("{name}")\n{call}'
        return f"    {command}\n\n```python\n{code}\n```"

    def _training(self) -> Iterator[str]:
        facts, config = self.facts, self.facts.config
        yield f"    {training_command(config)}"
        weights = "averaged over training (EMA)" if facts.averaged else "as the step left them"
        count = facts.pictures - len(config.trained_on(facts.pictures))
        held_out = f", {count} of them held out" if count else ""
        chosen = f", the best of those that were measured among {config.steps}" if facts.best else ""
        yield (
            f"{facts.pictures} pictures{held_out}, seed {config.seed}, batch {config.batch_size}, {config.precision}. "
            f"The weights are {weights}, after step {facts.step}{chosen}."
        )
        if facts.layout:
            figures = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in facts.layout.items())
            entities = _entities(config.generator)
            yield f"Layout of the generator's attentive normalization, of {entities} entities: {figures}."
        if self.storage.difference is not None:
            mean, most = self.storage.difference.mean(), self.storage.difference.max()
            yield (
                f"The weights are stored as {self.storage.dtype}, moments and singular vectors as float32. "
                f"That changes the sample pictures by {mean:.3f} grey levels of 255 on average, and {most} at most."
            )

    def _known_limits(self) -> Iterator[str]:
        config = self.facts.config
        if isinstance(config, InpaintingConfig):
            low, high = config.masks.fraction
            yield "It invents what is in a hole. It does not recover what was there, and is no evidence of it."
            yield (
                f"Trained on pictures of {config.image_size}×{config.image_size} pixels with holes of kind "
                f"{config.masks.kind!r}, {low:.0%} to {high:.0%} of the picture, and on no others."
            )
            yield "How well it does on pictures of another kind was not measured."
            yield f"{self.facts.step} steps of batch {config.batch_size}; the paper trains to convergence, at 256×256."
        else:
            names = class_names(config.generator)
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            yield f"It draws its own classes and nothing else: {', '.join(names[:MOST_NAMED])}{more}."
            yield (
                f"{self.facts.step} steps of batch {config.batch_size} with {max(config.generator.channels)} channels "
                "at most; the paper's network has 1024 and trains 880 000 steps of batch 256."
            )
            yield "Whether it repeats pictures that it was trained on was not measured."


def renamed(card: ModelCard, name: str) -> str:
    """The text of a card that a `Card` was the start of, with another name wherever it has the model's: in the title,
    in the lines of its use, and in the table of results.
    """
    title = re.search(r"^# (.+)$", card.text, re.MULTILINE)
    if title is not None:
        old = re.escape(title[1].strip())
        uses = rf'^(# ){old}(?=\s*$)|(attnorm (?:inpaint|generate) ){old}(?= )|(from_pretrained\("){old}(?="\))'
        card.text = re.sub(uses, lambda use: f"{use[use.lastindex or 0]}{name}", card.text, flags=re.MULTILINE)
    if card.data.get("eval_results"):
        card.data["model_name"] = name
    return str(card)


def class_names(config: GeneratorConfig) -> tuple[str, ...]:
    return config.class_names or tuple(map(str, range(config.num_classes)))


def _system(config: GeneratorConfig) -> str:
    kind = config.long_range.kind
    return "SN-GAN*" if kind == "none" and config.spectral_norm else SYSTEMS[kind]


def _entities(config: GeneratorConfig | InpaintingGeneratorConfig) -> int:
    spot = config.branch if isinstance(config, InpaintingGeneratorConfig) else config.long_range
    return spot.num_entities
