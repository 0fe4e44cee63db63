"""Inpainting: what one step is in either phase, and what it shows of itself (paper, §4; supplementary, §2)."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from typing_extensions import Self

from attnorm.data.builtin import validation_part
from attnorm.data.dataset import ImageDataset
from attnorm.data.masks import MaskConfig, Masks
from attnorm.errors import UserError
from attnorm.layers import orthogonal_loss
from attnorm.metrics.distributed import Processes
from attnorm.metrics.inpainting import MASKS, Reconstruction, ValidationSet, composite, measure_completions
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
from attnorm.training.adversarial import AdversarialConfig, AdversarialTask, Beta, Metrics, frozen
from attnorm.training.averaging import EMA
from attnorm.training.config import Count, Evaluation, Rate, Seed, Weight
from attnorm.training.phases import PhaseConfig, Phases
from attnorm.training.runtime import generator_for, seed_for


class InpaintingConfig(AdversarialConfig):
    """The loop's settings, the two networks, the masks, and how they are trained: eq. 9 and 10 in two phases.

    Images need no classes: where there are some, they are not used.
    """

    task: Literal["inpainting"] = "inpainting"
    generator: InpaintingGeneratorConfig = InpaintingGeneratorConfig()
    critic: InpaintingCriticConfig = InpaintingCriticConfig()
    masks: MaskConfig = MaskConfig()
    phases: PhaseConfig = PhaseConfig()
    batch_size: int = Field(16, ge=1, le=1 << 20)
    evaluate_every: Count = 1000  # measures the validation images, which the phases, samples and RUN/best need
    critic_lr: Rate = 1e-4
    betas: tuple[Beta, Beta] = (0.5, 0.9)
    critic_steps: int = Field(5, ge=1, le=1000)  # per generator step, in phase 2
    reconstruction_weight: Weight = 1.0  # lambda_rec of eq. 9, which the paper does not give
    adversarial_weight: Weight = 1e-3  # lambda_adv of eq. 9
    penalty_weight: Weight = 10.0  # lambda_gp of eq. 10
    coarse_weight: Weight = 1.0  # of the first stage's reconstruction
    discount: float = Field(1.0, gt=0, le=1)  # of the reconstruction inside the mask, by distance; CA takes 0.9
    crop_from: int | None = Field(None, ge=1, le=2 * LARGEST_IMAGE)  # images are prepared at this side and cropped
    val_data: str = ""  # validation images, as `data`; empty: a share of the data is held out
    val_fraction: Rate = 0.1
    val_seed: Seed = 0  # of the choice of held-out images and of the masks in them
    val_num: Count = 100  # so many of them are measured, all if there are no more
    sample_rows: int = Field(8, ge=1, le=100)

    @model_validator(mode="after")
    def _check_networks(self) -> Self:
        size = self.generator.image_size
        self._require_one_size(size, self.critic.image_size, "critic")
        if self.generator.branch.statistics != "instance":
            # The averaged generator has no moments of its own, and nothing here measures them anew for its weights.
            raise ValueError("generator.branch.statistics must be 'instance' in inpainting")
        if self.crop_from is not None and self.crop_from < size:
            raise ValueError(f"crop_from must be at least the image size {size}, got {self.crop_from}")
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

    def held_out(self, count: int) -> np.ndarray:
        """The validation images among `count` of the data: sorted indices, the same for every training seed."""
        if self.val_data:
            return np.arange(0)
        own = validation_part(self.data)
        if own is not None:
            return own
        number = min(max(round(self.val_fraction * count), 1), count)
        return np.sort(np.random.default_rng(self.val_seed).permutation(count)[:number])

    def trained_on(self, count: int) -> np.ndarray:
        return np.setdiff1d(np.arange(count), self.held_out(count))

    def validation(self, dataset: ImageDataset) -> ValidationSet:
        """The images of `val_data`, or else those of the data that are held out."""
        items = np.arange(len(dataset)) if self.val_data else self.held_out(len(dataset))
        return ValidationSet(dataset, items, self.image_size)

    def fitted_to(self, dataset: ImageDataset) -> Self:
        if not len(self.trained_on(len(dataset))):
            raise UserError(f"{self.data} has {len(dataset)} image(s), too few to hold one out: give --val_data")
        return self

    def misfit(self, dataset: ImageDataset) -> str | None:
        return None  # the loop compares the number of images, and nothing else of them matters


class CriticPiece(NamedTuple):
    """True and completed images (p, 3, s, s) in [-1, 1], their masks (p, 1, s, s), and their rows in the batch."""

    real: Tensor
    fake: Tensor
    mask: Tensor
    rows: slice


class InpaintingTask(AdversarialTask):
    """The networks in training, their optimisers, the averaged generator and the phase.

    Each update reads a batch of its own: a step of phase 1 one, a step of phase 2 one for each update of the critics
    and one for the generator's. Reading as many in phase 1 would decode most images for nothing. Which batch a step
    begins with follows from the step and the switch, which is part of the state: so a resume is exact in both phases.

    Crops, flips, masks and the penalty's mixtures belong to a place in a batch: they do not depend on how it is shared
    among processes and pieces.
    """

    config: InpaintingConfig
    shown: Sequence[str] = ("l1_refined", "loss_c", "loss_adversarial")

    def __init__(self, config: InpaintingConfig, processes: Processes) -> None:
        super().__init__(config, processes)
        self.generator = self._trained("generator", InpaintingGenerator(config.generator), config.generator_lr)
        self.critic = self._trained("critic", InpaintingCritic(config.critic), config.critic_lr, compilable=False)
        self.ema = EMA(self.generator, config.ema_half_life, config.ema_ramp_up)
        self._parallel_generator, self._parallel_critic = (
            processes.share_gradients(self.generator),
            processes.share_gradients(self.critic),
        )
        self.phases = Phases(config.phases)
        self._masks = Masks(config.masks, (config.image_size, config.image_size))
        if self._masks.left_out and processes.is_main:
            name, reason = self._masks.left_out[0]
            count = len(self._masks.left_out)
            print(f"{count} masks of {config.masks.folder} are not used, such as {name}: {reason}", file=sys.stderr)
        self._validation: ValidationSet | None = None

    def batches_before(self, step: int) -> int:
        alone = self.phases.reconstruction_steps(step)
        return alone + (step - alone) * (self.config.critic_steps + 1)

    def step(self, step: int, batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> Metrics:
        """One generator update, in phase 2 after `critic_steps` updates of the critics; a batch for each.

        Args:
            step: updates done before this one; all randomness is a function of the batches' numbers.
            batches: this process's share of images (m, s, s, 3) uint8, and labels, which are not used.

        Returns:
            scalars still on the device, averaged over the pieces of the batch.
        """
        scale = self.config.phases.lr_scale if self.phases.is_adversarial(step) else 1.0
        self._learning_rates["generator"] = scale * self.config.generator_lr
        self._begin_step(step)
        first, metrics = self.batches_before(step), dict[str, Tensor]()
        *for_critics, (own, _) = batches
        self.generator.train()
        self.critic.train()
        completed = self._completed(first, [images for images, _ in for_critics])
        updates = [self._update_critic(number, pieces) for number, pieces in enumerate(completed, first)]
        if updates:
            metrics = updates[-1] | {"gradient_c": torch.stack([found["gradient_c"] for found in updates]).mean()}
        # The generator's step needs no gradient of the critics' weights.
        with frozen(self.critic):
            metrics |= self._update_generator(first + len(for_critics), own, self.phases.is_adversarial(step))
        self._average(step)
        return metrics

    def lr_factor(self, step: int) -> float:
        return self.config.lr_factor(*self.phases.progress(step, self.config.steps))

    def state(self) -> dict[str, Any]:
        return super().state() | {"phases": self.phases.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.phases.load_state(state["phases"])

    def prepare_evaluation(self, dataset: ImageDataset) -> None:
        """Takes the validation images: those of `val_data`, or the data, of which a share is held out."""
        self._validation = self.config.validation(dataset).spread_over(self.config.val_num)

    def usage(self) -> dict[str, float]:
        """Sharpness and effective entities of the layout of validation images."""
        layouts: dict[str, Tensor] = {}
        if self.config.generator.branch.kind == "attentive_norm":
            layouts = {name: torch.from_numpy(layout) for name, layout in self._shown()[2].layouts.items()}
        return usage("generator", layouts)

    def write_samples(self, path: Path) -> None:
        """A sheet of the averaged generator's work on the same validation images and masks at every call."""
        truth, masks, stages = self._shown()
        columns = {
            "input": masked_images(truth, masks),
            "coarse": composite(truth, stages.coarse, masks),
            "refined": composite(truth, stages.refined, masks),
            "truth": truth,
        }
        layout = next(iter(stages.layouts.values()), None)
        save_image(inpainting_sheet(columns, [str(row) for row in range(len(truth))], layout), path)

    def save_model(self, folder: Path) -> None:
        """Writes the averaged generator in the form that `InpaintingPipeline.from_pretrained` reads."""
        self.ema.module.save_pretrained(folder)

    def evaluate(self, step: int) -> Evaluation:
        """Measures both stages of the averaged generator on validation images, with masks of each kind.

        The mean L1 of the refined images, which is what phase 1 minimises, decides about the phase; the score is the
        negative mean PSNR.
        """
        pipe = self._pipeline()

        def complete(images: np.ndarray, masks: np.ndarray) -> dict[str, np.ndarray]:
            stages = pipe.stages(images, masks)
            return {"refined": stages.refined, "coarse": stages.coarse}

        validation, seed = self._prepared(), self.config.val_seed
        measured = {kind: measure_completions(validation, masks, complete, seed=seed) for kind, masks in MASKS.items()}
        refined = [ways["refined"] for ways in measured.values()]
        error = float(np.mean([way.l1.mean() for way in refined]))
        psnr = float(np.mean([way.psnr.mean() for way in refined]))
        notice = None
        # An evaluation at the end of a run, out of turn, is not one that a longer run would have made here.
        if step % self.config.evaluate_every == 0 and self.phases.observe(step, error):
            notice = f"the validation error has converged: from step {step} on with the adversarial loss"
        phase = 1.0 + self.phases.is_adversarial(step)
        metrics = {"l1": error, **_flat(measured), "phase": phase}
        return Evaluation(metrics, -psnr, notice, phase=1 + self.phases.is_adversarial(step - 1))

    @torch.no_grad()
    def _completed(self, first: int, batches: Sequence[np.ndarray]) -> list[list[CriticPiece]]:
        """The pieces of each batch from number `first` on, completed by the generator: it does not change between the
        critics' updates, so that one call serves them all.
        """
        found: list[list[CriticPiece]] = [[] for _ in batches]
        pieces = [self._pieces(number, images) for number, images in enumerate(batches, first)]
        for index, of_batches in enumerate(zip(*pieces, strict=True)):
            x, mask = (torch.cat(parts) for parts in list(zip(*of_batches, strict=True))[:2])
            self._seed_layers(first, index)
            with self._autocast():
                fake = losses.composite(self.generator(x, mask).refined, x, mask)
            for batch, (real, mask, rows), completed in zip(found, of_batches, fake.chunk(len(batches)), strict=True):
                batch.append(CriticPiece(real, completed, mask, rows))
        return found

    def _update_critic(self, number: int, pieces: Sequence[CriticPiece]) -> Metrics:
        """One update of both critics on batch `number`."""
        total: Metrics = {}
        for index, (real, fake, mask, rows) in enumerate(pieces):
            mixing = self._drawn(number, "mixing", rows)
            with self._piece(index, self._parallel_critic):
                found = losses.critic_loss(self._parallel_critic, real, fake, mask, mixing, self.config.penalty_weight)
                (found.loss / self.config.accumulation).backward()
            self._add(total, loss_c=found.loss, wasserstein=found.wasserstein, gradient_penalty=found.penalty)
        return total | {"gradient_c": self._apply("critic", total)}

    def _update_generator(self, number: int, images: np.ndarray, adversarial: bool) -> Metrics:
        """One update of the generator on batch `number`."""
        config, total = self.config, Metrics()
        for index, (x, mask, _) in enumerate(self._pieces(number, images)):
            self._seed_layers(number, index)
            with self._piece(index, self._parallel_generator):
                with self._autocast():
                    out = self._parallel_generator(x, mask)
                error = losses.reconstruction_loss(
                    *(out.coarse, out.refined, x, mask), coarse_weight=config.coarse_weight, discount=config.discount
                )
                orthogonal = orthogonal_loss(self.generator)
                loss = config.reconstruction_weight * error.loss + config.orthogonal_weight * orthogonal
                if adversarial:
                    # The critics themselves, not their wrapped form, whose gradients nobody waits for here.
                    against = losses.adversarial_loss(self.critic, losses.composite(out.refined, x, mask), mask)
                    loss = loss + config.adversarial_weight * against
                    self._add(total, loss_adversarial=against)
                (loss / config.accumulation).backward()
            self._add(
                total,
                loss_g=loss,
                l1_coarse=error.coarse,
                l1_refined=error.refined,
                orthogonal_g=orthogonal,
                saturated_coarse=losses.saturated_fraction(out.coarse_unclipped),
                saturated_refined=losses.saturated_fraction(out.refined_unclipped),
            )
        return total | {"gradient_g": self._apply("generator", total)}

    def _pieces(self, number: int, images: np.ndarray) -> Iterator[tuple[Tensor, Tensor, slice]]:
        """Images (p, 3, s, s) in [-1, 1], masks (p, 1, s, s) bool and rows in the whole batch, of each piece."""
        size = len(images) // self.config.accumulation
        for index in range(self.config.accumulation):
            first = (self._first_piece + index) * size
            rows = slice(first, first + size)
            x = self._in_unit_range(images[index * size : (index + 1) * size])
            x = self._flipped(self._cropped(x, number, rows), number, rows)
            places = number * self.config.batch_size + np.arange(rows.start, rows.stop)
            masks = self._masks.batch(seed_for(self.config.seed, "holes"), places.tolist())
            yield x, torch.from_numpy(masks)[:, None].to(self.device), rows

    def _cropped(self, x: Tensor, number: int, rows: slice) -> Tensor:
        size, room = self.config.image_size, x.shape[2] - self.config.image_size
        if not room:
            return x
        share = torch.cat([self._drawn(number, f"crop {axis}", rows) for axis in "yx"], dim=1).flatten(1)
        corners = (share * (room + 1)).long().clamp_max(room)
        memory_format = torch.channels_last if self.config.channels_last else torch.contiguous_format
        return crop(x, corners, size).contiguous(memory_format=memory_format)

    def _flipped(self, x: Tensor, number: int, rows: slice) -> Tensor:
        if not self.config.horizontal_flip:
            return x
        return torch.where(self._drawn(number, "flip", rows) < 0.5, x.flip(3), x)

    def _drawn(self, number: int, purpose: str, rows: slice) -> Tensor:
        """Uniform in [0, 1) for some rows of batch `number`, (p, 1, 1, 1)."""
        generator = generator_for(self.device, self.config.seed, number, purpose)
        return torch.rand(self.config.batch_size, 1, 1, 1, generator=generator, device=self.device)[rows]

    def _seed_layers(self, number: int, index: int) -> None:
        """What the layers draw, self-sampling that is, belongs to a piece."""
        torch.manual_seed(seed_for(self.config.seed, number, "layers", self._first_piece + index))

    def _pipeline(self) -> InpaintingPipeline:
        return InpaintingPipeline(copy.deepcopy(self.ema.module))

    def _prepared(self) -> ValidationSet:
        if self._validation is None:
            raise RuntimeError("prepare_evaluation comes before evaluate, usage and write_samples")
        return self._validation

    def _shown(self) -> tuple[np.ndarray, np.ndarray, Stages]:
        """The first validation images, masks of each kind in turn, and both stages' completions."""
        validation = self._prepared()
        truth = validation.read(slice(self.config.sample_rows))
        kinds = [Masks(masks, (validation.size, validation.size)) for masks in MASKS.values()]
        masks = np.stack([kinds[index % len(kinds)](self.config.val_seed, index) for index in range(len(truth))])
        return truth, masks, self._pipeline().stages(truth, masks)


def _flat(measured: dict[str, dict[str, Reconstruction]]) -> dict[str, float]:
    """The mean of every metric under WAY.MASKS.METRIC."""
    return {
        f"{way}.{kind}.{metric}": float(values.mean())
        for kind, ways in measured.items()
        for way, reconstruction in ways.items()
        for metric, values in reconstruction._asdict().items()
    }
