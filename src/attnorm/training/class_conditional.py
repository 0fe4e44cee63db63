"""Class-conditional adversarial training: one training step, samples and evaluation (paper, §4)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, distributed
from torch.nn import functional
from typing_extensions import Self

from attnorm.cache import cache_folder
from attnorm.config import Frozen, derive
from attnorm.data.dataset import ImageDataset
from attnorm.data.decode import to_uint8
from attnorm.layers import orthogonal_loss
from attnorm.metrics.distributed import Processes
from attnorm.metrics.evaluation import Evaluator, flat_values
from attnorm.metrics.features import EFFICIENTNET, load_extractor
from attnorm.metrics.layout import record_layouts, usage
from attnorm.models.class_conditional import (
    Discriminator,
    DiscriminatorConfig,
    DiscriminatorOutput,
    Generator,
    GeneratorConfig,
)
from attnorm.pipelines.class_conditional import ClassConditionalPipeline
from attnorm.plots import label_grid, save_image
from attnorm.training.adversarial import AdversarialTask, Batch, Metrics, frozen
from attnorm.training.augment import Augmentation, augmented
from attnorm.training.averaging import measure_standing_statistics
from attnorm.training.config import Evaluation, Rate, TrainingConfig, Weight
from attnorm.training.losses import hinge_discriminator_loss, hinge_generator_loss
from attnorm.training.runtime import autocast, generator_for, seed_for

USAGE_IMAGES = 16  # images from which layout metrics are computed


class EvaluationConfig(Frozen):
    """How a generator is evaluated every `evaluate_every` steps.

    metrics: as for `attnorm evaluate --metrics`; the first one chooses the best model.
    num: images to generate. num_real: real images to compare with, 0 for all.
    """

    metrics: tuple[str, ...] = Field(("fd",), min_length=1)
    extractor: str = EFFICIENTNET
    num: int = Field(5000, ge=1, le=10_000_000)
    num_real: int = Field(5000, ge=0)


class ClassConditionalConfig(TrainingConfig):
    """The settings of the loop, of the two networks and of their adversarial training (paper, §4)."""

    task: Literal["class-conditional"] = "class-conditional"
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    discriminator_lr: Rate = 4e-4
    discriminator_steps: int = Field(1, ge=1, le=1000)  # per generator step
    auxiliary_weight: Weight = 1.0  # of the classification loss of an auxiliary classifier
    augment: tuple[Augmentation, ...] = ()  # DiffAugment: any of color, translation, cutout
    standing_batches: int = Field(16, ge=1, le=10_000)  # batches for the averaged generator's moments
    sample_columns: int = Field(10, ge=1, le=100)
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        self._check_opponent("discriminator", self.discriminator.image_size)
        return self

    @property
    def image_size(self) -> int:
        return self.generator.image_size

    def fitted_to(self, dataset: ImageDataset) -> Self:
        return self.for_classes(dataset.class_names)

    def for_classes(self, class_names: Sequence[str]) -> Self:
        """The configuration for data with these classes."""
        count = {f"{network}.num_classes": len(class_names) for network in ("generator", "discriminator")}
        return derive(self, count | {"generator.class_names": tuple(class_names)})


class ClassConditionalTask(AdversarialTask):
    """The networks in training, their optimizers and the averaged generator."""

    config: ClassConditionalConfig
    shown: Sequence[str] = ("loss_d", "loss_g", "generator.*.sharpness")

    def __init__(self, config: ClassConditionalConfig, processes: Processes) -> None:
        super().__init__(config, processes)
        self.generator = self._trained("generator", Generator(config.generator), config.generator_lr)
        network, lr = Discriminator(config.discriminator), config.discriminator_lr
        self.discriminator = self._trained("discriminator", network, lr)
        self._share()
        self._shown_real: tuple[Tensor, Tensor] | None = None
        self._evaluator: Evaluator  # set by prepare_evaluation

    def batches_before(self, step: int) -> int:
        return step * self.config.discriminator_steps

    def step(self, step: int, batches: Sequence[Batch]) -> Metrics:
        """One generator update after `discriminator_steps` discriminator updates, one per batch.

        All randomness is a function of `step`, counted from 0. Returns means over the pieces of the batch.
        """
        self._begin_step(step)
        updates = [self._update_discriminator(step, update, batch) for update, batch in enumerate(batches)]
        metrics = updates[-1] | {"gradient_d": torch.stack([found["gradient_d"] for found in updates]).mean()}
        # The generator's step needs no gradients of the discriminator's weights, a third of its backward pass.
        with frozen(self.discriminator):
            metrics |= self._update_generator(step, len(batches[0][1]))
        self._average(step)
        return metrics

    def usage(self) -> dict[str, float]:
        """Sharpness and effective entities of each layout, for generated and for real images."""
        z, labels = self._fixed_inputs()
        shown = {"generator": (self.ema.module, z[:USAGE_IMAGES], labels[:USAGE_IMAGES])}
        if self._shown_real is not None:
            shown["discriminator"] = (self.discriminator.eval(), *self._shown_real)
        metrics: dict[str, float] = {}
        for name, (network, *inputs) in shown.items():
            with torch.no_grad(), self._autocast(), record_layouts(network) as layouts:
                network.forward(*inputs)  # not a call, which would hide the layers of a compiled network
            metrics |= usage(name, layouts)
        return metrics

    def write_samples(self, path: Path) -> None:
        """Draws a grid of the averaged generator's images, a row per class, with the same noise at every call."""
        z, labels = self._fixed_inputs()
        generator = self.sampling_generator()
        with torch.no_grad(), self._autocast():
            images = torch.cat([generator(*part) for part in zip(z.split(64), labels.split(64), strict=True)])
        names = self.config.generator.class_names or tuple(map(str, range(self.config.generator.num_classes)))
        columns = self.config.sample_columns
        save_image(label_grid(to_uint8(images), [names[i] for i in labels[::columns].tolist()], columns), path)

    def prepare_evaluation(self, dataset: ImageDataset) -> None:
        config, names, device = self.config.evaluation, self.config.generator.class_names, str(self.device)
        self._evaluator = Evaluator(
            dataset,
            names,
            metrics=config.metrics,
            extractor=load_extractor(config.extractor, device),
            num=config.num,
            num_real=config.num_real or None,
            per_class=max(2, config.num // len(names)),
            cache=cache_folder() / "reference",
        )

    def evaluate(self, step: int) -> Evaluation:
        """Evaluates the averaged generator. The score is the first metric, or its negative if higher is better."""
        generator = self.sampling_generator()
        if self.processes.count > 1:  # each draws a share of the images, with the same generator
            for value in generator.state_dict().values():
                distributed.broadcast(value, 0)
        pipe = ClassConditionalPipeline(generator)
        values = self._evaluator.measure(lambda labels, seed: pipe.draw(labels, seed=seed).images)
        first = next(iter(values.values()))
        return Evaluation(flat_values(values), first.main if first.better == "lower" else -first.main)

    def sampling_generator(self) -> Generator:
        """A copy of the averaged generator with standing statistics, in eval mode."""
        generator: Generator = super().sampling_generator()
        prepare_for_sampling(generator, self.config, self.processes.count)
        return generator

    def _update_discriminator(self, step: int, update: int, batch: Batch) -> Metrics:
        total: Metrics = {}
        for index, (x, y) in enumerate(self._split(0, batch)):
            purpose = (step, "discriminator", update, self._first_piece + index)
            x = self._flipped(x, *purpose)
            z, fake_y = draw_inputs(self.config, self.device, len(y), *purpose)
            torch.manual_seed(seed_for(self.config.seed, *purpose, "layers"))
            with self._piece(index, "discriminator"):
                with self._autocast():
                    with torch.no_grad():
                        fake = self.generator(z, fake_y)
                    # One call for both, so that spectral norm iterates once and DDP has one forward per backward pass.
                    both, labels = self._augmented(torch.cat([x, fake]), *purpose), torch.cat([y, fake_y])
                    output = self._parallel["discriminator"](both, labels)
                real_score, fake_score = output.score.chunk(2)
                adversarial = hinge_discriminator_loss(real_score, fake_score)
                orthogonal = orthogonal_loss(self.discriminator)
                auxiliary = self._auxiliary("d", output, labels, parts=2)
                self._backpropagate("discriminator", self._loss(adversarial, orthogonal, auxiliary))
            self._shown_real = (x[:USAGE_IMAGES], y[:USAGE_IMAGES])
            scores = {"score_real": real_score.mean(), "score_fake": fake_score.mean()}
            self._add(total, loss_d=adversarial, **scores, orthogonal_d=orthogonal, **auxiliary)
        return total | {"gradient_d": self._apply("discriminator", total)}

    def _update_generator(self, step: int, share: int) -> Metrics:
        total: Metrics = {}
        pieces = self.config.accumulation
        for index in range(pieces):
            purpose = (step, "generator", self._first_piece + index)
            z, labels = draw_inputs(self.config, self.device, share // pieces, *purpose)
            torch.manual_seed(seed_for(self.config.seed, *purpose, "layers"))
            with self._piece(index, "generator"):
                with self._autocast():
                    fake = self._augmented(self._parallel["generator"](z, labels), *purpose)
                    output = self.discriminator(fake, labels)
                adversarial = hinge_generator_loss(output.score)
                orthogonal = orthogonal_loss(self.generator)
                auxiliary = self._auxiliary("g", output, labels)
                self._backpropagate("generator", self._loss(adversarial, orthogonal, auxiliary))
            self._add(total, loss_g=adversarial, orthogonal_g=orthogonal, **auxiliary)
        return total | {"gradient_g": self._apply("generator", total)}

    def _flipped(self, x: Tensor, *purpose: int | str) -> Tensor:
        if not self.config.horizontal_flip:
            return x
        generator = generator_for(self.device, self.config.seed, *purpose, "flip")
        flip = torch.rand(len(x), 1, 1, 1, generator=generator, device=self.device) < 0.5
        return torch.where(flip, x.flip(3), x)

    def _augmented(self, x: Tensor, *purpose: int | str) -> Tensor:
        if not self.config.augment:
            return x
        return augmented(x, self.config.augment, generator_for(self.device, self.config.seed, *purpose, "augment"))

    def _fixed_inputs(self) -> tuple[Tensor, Tensor]:
        """The noise and labels of every sample grid: `sample_columns` each of `sample_rows` evenly spread classes."""
        config = self.config
        rows = min(config.sample_rows, config.generator.num_classes)
        classes = torch.arange(rows, device=self.device) * config.generator.num_classes // rows
        labels = classes.repeat_interleave(config.sample_columns)
        return draw_inputs(config, self.device, len(labels), "samples")[0], labels

    def _auxiliary(self, network: str, output: DiscriminatorOutput, labels: Tensor, parts: int = 1) -> Metrics:
        """AC-GAN's classification loss by its name in the log; empty without an auxiliary classifier.

        It is summed over the `parts` of the batch: real and generated images for the discriminator (eq. 3 of Odena et
        al. 2017, negated), and generated ones for the generator.
        """
        logits = output.class_logits
        if logits is None:
            return {}
        pairs = zip(logits.chunk(parts), labels.chunk(parts), strict=True)
        return {f"auxiliary_{network}": torch.stack([functional.cross_entropy(*pair) for pair in pairs]).sum()}

    def _loss(self, adversarial: Tensor, orthogonal: Tensor, auxiliary: Metrics) -> Tensor:
        loss = adversarial + self.config.orthogonal_weight * orthogonal
        for value in auxiliary.values():
            loss = loss + self.config.auxiliary_weight * value
        return loss


def prepare_for_sampling(generator: Generator, config: ClassConditionalConfig, processes: int = 1) -> None:
    """Puts a trained or averaged generator into eval mode, and measures its standing statistics on its own images.

    Each batch has the size of a piece of the training batch, which `processes` share.
    """
    device = next(generator.parameters()).device
    share = max(2, config.batch_size // (processes * config.accumulation))

    def forward(index: int) -> None:
        z, labels = draw_inputs(config, device, share, "standing statistics", index)
        with autocast(device, config.precision):
            generator(z, labels)

    measure_standing_statistics(generator, forward, config.standing_batches)


def draw_inputs(
    config: ClassConditionalConfig, device: torch.device, count: int, *purpose: int | str
) -> tuple[Tensor, Tensor]:
    """Noise (count, latent_dim) and uniformly drawn labels (count,)."""
    generator = generator_for(device, config.seed, *purpose, "noise")
    z = torch.randn(count, config.generator.latent_dim, generator=generator, device=device)
    return z, torch.randint(config.generator.num_classes, (count,), generator=generator, device=device)
