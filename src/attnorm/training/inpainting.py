"""Inpainting: one training step in either phase, samples and evaluation (paper, §4; supplementary, §2)."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import Self

from attnorm.config import Frozen, derive
from attnorm.data.builtin import validation_part
from attnorm.data.dataset import ImageDataset
from attnorm.data.listing import list_images
from attnorm.data.masks import MaskConfig, Masks
from attnorm.errors import UserError, counted
from attnorm.layers import orthogonal_loss
from attnorm.metrics.distributed import Processes
from attnorm.metrics.image_sets import RealImages
from attnorm.metrics.inpainting import MASKS, composite, measure_completions
from attnorm.metrics.layout import usage
from attnorm.models.inpainting import (
    LARGEST_IMAGE,
    InpaintingCritic,
    InpaintingCriticConfig,
    InpaintingGenerator,
    InpaintingGeneratorConfig,
    crop,
)
from attnorm.pipelines.inpainting import InpaintingPipeline, Stages
from attnorm.plots import save_image
from attnorm.plots.layouts import inpainting_sheet, masked_images
from attnorm.training import losses
from attnorm.training.adversarial import AdversarialTask, Batch, Metrics, frozen
from attnorm.training.config import Beta, Count, Evaluation, Rate, Seed, TrainingConfig, Weight
from attnorm.training.runtime import generator_for, seed_for


class PhaseConfig(Frozen):
    """The two phases: reconstruction only, then with the adversarial loss. The paper trains each to convergence.

    at_step: the first step of phase 2, counted from 0; None for 60 % of the steps.
    lr_scale: the generator's learning rate in phase 2, relative to `generator_lr`.
    """

    at_step: int | None = Field(None, ge=0)
    lr_scale: float = Field(1.0, ge=0)


class InpaintingConfig(TrainingConfig):
    """The settings of the loop, the networks, the masks, and of training by eq. 9 and 10 in two phases."""

    task: Literal["inpainting"] = "inpainting"
    generator: InpaintingGeneratorConfig = InpaintingGeneratorConfig()
    critic: InpaintingCriticConfig = InpaintingCriticConfig()
    masks: MaskConfig = MaskConfig()
    phases: PhaseConfig = PhaseConfig()
    batch_size: int = Field(16, ge=1, le=1 << 20)
    evaluate_every: Count = 1000  # the best model of each phase is kept
    critic_lr: Rate = 1e-4
    betas: tuple[Beta, Beta] = (0.5, 0.9)
    critic_steps: int = Field(5, ge=1, le=1000)  # per generator step, in phase 2
    reconstruction_weight: Weight = 1.0  # lambda_rec of eq. 9, not given in the paper
    adversarial_weight: Weight = 1e-3  # lambda_adv of eq. 9
    penalty_weight: Weight = 10.0  # lambda_gp of eq. 10
    coarse_weight: Weight = 1.0  # weight of the first stage's reconstruction
    crop_from: int | None = Field(None, ge=1, le=2 * LARGEST_IMAGE)  # side before cropping; None: no crops
    val_data: str = ""  # validation images, as `data` without split and columns; empty: part of the data is held out
    val_fraction: Rate = 0.1
    val_seed: Seed = 0  # chooses the held-out images and the masks of validation
    val_num: Count = 100  # validation images to measure, at most
    sample_rows: int = Field(8, ge=1, le=100)

    paths: ClassVar[tuple[str, ...]] = (*TrainingConfig.paths, "val_data", "masks.folder")

    @model_validator(mode="after")
    def _check_networks(self) -> Self:
        self._check_opponent("critic", self.critic.image_size)
        if self.generator.branch.statistics != "instance":
            raise ValueError("generator.branch.statistics must be 'instance' in inpainting")
        if self.prepared_size < self.image_size:
            raise ValueError(f"crop_from must be at least the image size {self.image_size}, got {self.crop_from}")
        folder = Path(self.masks.folder)
        is_own = self.masks.folder and folder.resolve() == Path(self.data).resolve()
        if is_own and folder.is_dir() and not list_images(folder)[1]:  # it may have moved since
            what = f"the images' own, {self.masks.folder}, without masks named NAME_mask.png"
            raise ValueError(f"masks.folder must not be {what}")
        return self

    @property
    def image_size(self) -> int:
        return self.generator.image_size

    @property
    def prepared_size(self) -> int:
        return self.crop_from or self.image_size

    @property
    def evaluation_data(self) -> str:
        return self.val_data

    @property
    def phase_1_steps(self) -> int:
        return self.steps * 3 // 5 if self.phases.at_step is None else self.phases.at_step

    def with_steps(self, steps: int) -> Self:
        """As in the base class; phase 2 begins at the same step."""
        return derive(self, {"steps": steps, "phases.at_step": self.phase_1_steps}, f"--steps {steps}")

    def held_out(self, count: int) -> np.ndarray:
        """Sorted indices of the validation images among `count` images; the same for every training seed."""
        if self.val_data:
            return np.arange(0)
        builtin = validation_part(self.data)
        if builtin is not None:
            return builtin
        number = min(max(round(self.val_fraction * count), 1), count)
        return np.sort(np.random.default_rng(self.val_seed).permutation(count)[:number])

    def trained_on(self, count: int) -> np.ndarray:
        return np.setdiff1d(np.arange(count), self.held_out(count))

    def fitted_to(self, dataset: ImageDataset) -> Self:
        if not len(self.trained_on(len(dataset))):
            images = counted(len(dataset), "image")
            raise UserError(f"{self.data} has {images}, too few to hold one out: give --val_data")
        return self


class Piece(NamedTuple):
    """Part of a batch: images (p, 3, s, s) in [-1, 1], masks (p, 1, s, s) bool, and their rows in the batch."""

    x: Tensor
    mask: Tensor
    rows: slice


class InpaintingTask(AdversarialTask):
    """The networks in training, their optimizers and the averaged generator.

    Each update reads its own batch: one in a step of phase 1, `critic_steps` + 1 in a step of phase 2. Crops, flips,
    masks and the mixtures of the penalty depend on the row in the batch, not on processes and pieces.
    """

    config: InpaintingConfig
    shown: Sequence[str] = ("l1_refined", "loss_c", "loss_adversarial")

    def __init__(self, config: InpaintingConfig, processes: Processes) -> None:
        super().__init__(config, processes)
        self.generator = self._trained("generator", InpaintingGenerator(config.generator), config.generator_lr)
        self.critic = self._trained("critic", InpaintingCritic(config.critic), config.critic_lr, compilable=False)
        self._share()
        self._masks = Masks(config.masks, (config.image_size, config.image_size))
        if (others := self._masks.left_out) and processes.is_main:
            name, reason = others[0]
            masks = f"{counted(len(others), 'mask')} of {config.masks.folder}"
            print(f"{masks} not used, such as {name}: {reason}", file=sys.stderr)
        self._validation: RealImages  # set by prepare_evaluation

    def batches_before(self, step: int) -> int:
        phase_1 = min(step, self.config.phase_1_steps)
        return phase_1 + (step - phase_1) * (self.config.critic_steps + 1)

    def step(self, step: int, batches: Sequence[Batch]) -> Metrics:
        """One generator update, in phase 2 after `critic_steps` updates of the critics, each on its own batch.

        All randomness is a function of the batches' numbers. Returns means over the pieces of a batch.
        """
        adversarial = step >= self.config.phase_1_steps
        scale = self.config.phases.lr_scale if adversarial else 1.0
        self._learning_rates["generator"] = scale * self.config.generator_lr
        self._begin_step(step)
        first, metrics = self.batches_before(step), Metrics()
        *for_critics, last = batches
        completed = self._completed(first, for_critics)
        updates = [self._update_critic(number, pieces) for number, pieces in enumerate(completed, first)]
        if updates:
            metrics = updates[-1] | {"gradient_c": torch.stack([found["gradient_c"] for found in updates]).mean()}
        # The generator's step needs no gradients of the critics' weights.
        with frozen(self.critic):
            metrics |= self._update_generator(first + len(for_critics), last, adversarial)
        self._average(step)
        return metrics

    def lr_factor(self, step: int) -> float:
        switch = self.config.phase_1_steps
        done, length = (step, switch) if step < switch else (step - switch, self.config.steps - switch)
        return self.config.lr_factor(done, length)

    def prepare_evaluation(self, dataset: ImageDataset) -> None:
        config = self.config
        items = np.arange(len(dataset)) if config.val_data else config.held_out(len(dataset))
        self._validation = RealImages(dataset, items, config.image_size).spread_over(config.val_num)

    def usage(self) -> dict[str, float]:
        """Sharpness and effective entities of the layout on validation images."""
        layouts: dict[str, Tensor] = {}
        if self.config.generator.branch.kind == "attentive_norm":
            layouts = {name: torch.from_numpy(layout) for name, layout in self._shown()[2].layouts.items()}
        return usage("generator", layouts)

    def write_samples(self, path: Path) -> None:
        """Draws the averaged generator's completions, of the same images and masks at every call."""
        truth, masks, stages = self._shown()
        completed = {name: composite(truth, getattr(stages, name), masks) for name in ("coarse", "refined")}
        columns = {"input": masked_images(truth, masks), **completed, "truth": truth}
        layout = next(iter(stages.layouts.values()), None)
        save_image(inpainting_sheet(columns, [str(row) for row in range(len(truth))], layout), path)

    def evaluate(self, step: int) -> Evaluation:
        """Measures both stages of the averaged generator on validation images, with masks of each kind.

        The score is the negative mean PSNR of the refined images. `l1` is the loss of phase 1.
        """
        pipe = InpaintingPipeline(self.sampling_generator())

        def complete(images: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
            stages = pipe.stages(images, masks)
            return {"refined": stages.refined, "coarse": stages.coarse}

        validation, seed = self._validation, self.config.val_seed
        measured = {kind: measure_completions(validation, masks, complete, seed=seed) for kind, masks in MASKS.items()}
        refined = [ways["refined"] for ways in measured.values()]
        metrics = {"l1": float(np.mean([way.l1.mean() for way in refined]))}
        for kind, ways in measured.items():
            for way, reconstruction in ways.items():
                values = reconstruction._asdict().items()
                metrics |= {f"{way}.{kind}.{metric}": float(value.mean()) for metric, value in values}
        phase = 1 + (step > self.config.phase_1_steps)
        psnr = float(np.mean([way.psnr.mean() for way in refined]))
        return Evaluation(metrics | {"phase": float(phase)}, -psnr, phase=phase)

    @torch.no_grad()
    def _completed(self, first: int, batches: Sequence[Batch]) -> list[list[tuple[Piece, Tensor]]]:
        """The pieces of each batch from number `first` on, with their completions.

        The generator does not change between updates of the critics, so one call serves all of them.
        """
        completed: list[list[tuple[Piece, Tensor]]] = [[] for _ in batches]
        pieces = [self._pieces(number, batch) for number, batch in enumerate(batches, first)]
        for index, same in enumerate(zip(*pieces, strict=True)):
            x, mask = torch.cat([piece.x for piece in same]), torch.cat([piece.mask for piece in same])
            self._seed_layers(first, index)
            with self._autocast():
                fake = losses.composite(self.generator(x, mask).refined, x, mask)
            for batch, piece, part in zip(completed, same, fake.chunk(len(batches)), strict=True):
                batch.append((piece, part))
        return completed

    def _update_critic(self, number: int, pieces: Sequence[tuple[Piece, Tensor]]) -> Metrics:
        """One update of both critics on batch `number`."""
        total: Metrics = {}
        critic, weight = self._parallel["critic"], self.config.penalty_weight
        for index, ((real, mask, rows), fake) in enumerate(pieces):
            mixing = self._drawn(number, "mixing", rows)
            with self._piece(index, "critic"):
                found = losses.critic_loss(critic, real, fake, mask, mixing, weight)
                self._backpropagate("critic", found.loss)
            self._add(total, loss_c=found.loss, wasserstein=found.wasserstein, gradient_penalty=found.penalty)
        return total | {"gradient_c": self._apply("critic", total)}

    def _update_generator(self, number: int, batch: Batch, adversarial: bool) -> Metrics:
        """One update of the generator on batch `number`."""
        config, total = self.config, Metrics()
        for index, (x, mask, _) in enumerate(self._pieces(number, batch)):
            self._seed_layers(number, index)
            with self._piece(index, "generator"):
                with self._autocast():
                    out = self._parallel["generator"](x, mask)
                coarse, refined = (losses.reconstruction_loss(image, x) for image in (out.coarse, out.refined))
                orthogonal = orthogonal_loss(self.generator)
                loss = config.reconstruction_weight * (config.coarse_weight * coarse + refined)
                loss = loss + config.orthogonal_weight * orthogonal
                if adversarial:
                    # The unwrapped critic: its weights get no gradients here.
                    against = losses.adversarial_loss(self.critic, losses.composite(out.refined, x, mask), mask)
                    loss = loss + config.adversarial_weight * against
                    self._add(total, loss_adversarial=against)
                self._backpropagate("generator", loss)
            self._add(total, loss_g=loss, l1_coarse=coarse, l1_refined=refined, orthogonal_g=orthogonal)
        return total | {"gradient_g": self._apply("generator", total)}

    def prepare(self, number: int, batch: tuple[np.ndarray, np.ndarray]) -> tuple[Tensor, Tensor]:
        """As in the base class, with a mask for each image instead of its label."""
        images, count = batch[0], len(batch[0])
        first = number * self.config.batch_size + self.processes.rank * count
        masks = self._masks.batch(seed_for(self.config.seed, "holes"), range(first, first + count))
        return super().prepare(number, (images, masks))

    def _pieces(self, number: int, batch: Batch) -> Iterator[Piece]:
        """The pieces of this process's share of batch `number`."""
        for index, (x, masks) in enumerate(self._split(number, batch)):
            first = (self._first_piece + index) * len(x)
            rows = slice(first, first + len(x))
            yield Piece(self._flipped(self._cropped(x, number, rows), number, rows), masks[:, None], rows)

    def _cropped(self, x: Tensor, number: int, rows: slice) -> Tensor:
        size, room = self.config.image_size, x.shape[2] - self.config.image_size
        if not room:
            return x
        share = torch.cat([self._drawn(number, f"crop {axis}", rows) for axis in "yx"], dim=1).flatten(1)
        corners = (share * (room + 1)).long().clamp_max(room)
        return crop(x, corners, size).contiguous(memory_format=self._memory_format)

    def _flipped(self, x: Tensor, number: int, rows: slice) -> Tensor:
        if not self.config.horizontal_flip:
            return x
        return torch.where(self._drawn(number, "flip", rows) < 0.5, x.flip(3), x)

    def _drawn(self, number: int, purpose: str, rows: slice) -> Tensor:
        """Uniform numbers in [0, 1) for some rows of batch `number`, (p, 1, 1, 1)."""
        generator = generator_for(self.device, self.config.seed, number, purpose)
        return torch.rand(self.config.batch_size, 1, 1, 1, generator=generator, device=self.device)[rows]

    def _seed_layers(self, number: int, index: int) -> None:
        """Seeds the self-sampling of a piece."""
        torch.manual_seed(seed_for(self.config.seed, number, "layers", self._first_piece + index))

    def _shown(self) -> tuple[np.ndarray, np.ndarray, Stages]:
        """The first validation images with masks of each kind in turn, and both stages' completions."""
        validation = self._validation
        truth = validation.read(0, self.config.sample_rows)
        kinds = [Masks(masks, (validation.size, validation.size)) for masks in MASKS.values()]
        masks = np.stack([kinds[index % len(kinds)](self.config.val_seed, index) for index in range(len(truth))])
        return truth, masks, InpaintingPipeline(self.sampling_generator()).stages(truth, masks)
