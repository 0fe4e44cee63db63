"""Inpainting runs: both phases, their resume, several processes, validation images, and one step from inside."""

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm import InpaintingPipeline
from attnorm.config import derive
from attnorm.data.builtin import load_builtin
from attnorm.data.dataset import ImageDataset
from attnorm.data.masks import Masks
from attnorm.metrics.inpainting import MASKS, reconstruction
from attnorm.models.pretrained import step_of
from attnorm.training import loop
from attnorm.training.inpainting import InpaintingTask
from tests.runs import (
    ALONE,
    INPAINT,
    assert_same_run,
    batch_of,
    differences,
    final_state,
    interrupt,
    log_of,
    main,
    moved,
    run_killed,
    run_two,
    weights,
)

STOPS = {"interrupted": [(1, 2), (2, 3), (4, 5)], "killed": [(2, 2), ("checkpoint", 2), (5, 4)]}  # moment, steps left


@pytest.mark.promise
@pytest.mark.parametrize(("how", "moment", "left"), [(how, *stop) for how, stops in STOPS.items() for stop in stops])
def test_a_run_stopped_in_either_phase_goes_on_bit_for_bit(
    how, moment, left, finished_inpainting_run, tiny_inpainting_arguments, tmp_path, monkeypatch
):
    run, best = tmp_path / "run", ("best/model.safetensors", "best-phase-1/model.safetensors")
    command = [*INPAINT, str(run), *tiny_inpainting_arguments]
    if how == "killed":
        run_killed(InpaintingTask, moment, *command)
    else:
        with monkeypatch.context() as patch:
            interrupt(patch, InpaintingTask, moment)
            assert main(command) == 130
    assert final_state(run)["step"] == left
    assert main(["resume", str(run)]) == 0
    assert_same_run(run, finished_inpainting_run, *best)
    assert log_of(run, "metrics.jsonl") == log_of(finished_inpainting_run, "metrics.jsonl")


@pytest.mark.promise
def test_more_steps_are_those_of_a_longer_run_whatever_the_last_evaluation_saw(
    finished_inpainting_run, tiny_inpainting_arguments, tmp_path
):
    run = tmp_path / "run"
    assert main([*INPAINT, str(run), *tiny_inpainting_arguments, "--steps", "5"]) == 0  # evaluated out of turn at 5
    assert main(["resume", str(run), "--steps", "6"]) == 0
    assert differences(final_state(run)["task"], final_state(finished_inpainting_run)["task"]) == []


@pytest.mark.promise
def test_two_processes_take_the_steps_of_one(tiny_inpainting_arguments, tmp_path):
    """What is drawn belongs to a place in the batch, whoever has it; what self-sampling draws belongs to a piece."""
    arguments = [*tiny_inpainting_arguments, "--log_every", "1"]
    assert run_two(InpaintingTask, [*INPAINT, str(tmp_path / "two"), *arguments]) == [0, 0]
    assert main([*INPAINT, str(tmp_path / "one"), *arguments, "--accumulation", "2"]) == 0
    one, two = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    assert len(one) == len(two) == 6
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for name in first.keys() & {"gradient_penalty", "wasserstein", "loss_c", "loss_adversarial", "l1_refined"}:
            assert first[name] == pytest.approx(second[name], rel=1e-4, abs=3e-4), (first["step"], name)
    assert "gradient_penalty" in one[-1]
    states = [final_state(tmp_path / name)["task"] for name in ("one", "two")]
    for name in ("ema", "critic"):
        # Adam moves a weight whose gradient is almost 0 by its rounding's sign: a few may differ by a learning rate.
        apart = torch.cat([(value - states[1][name][key]).abs().flatten() for key, value in states[0][name].items()])
        assert apart.max() < 1e-3
        assert apart.mean() < 3e-6


def test_the_model_is_what_the_pipeline_reads_and_the_metrics_are_of_its_composites(finished_inpainting_run):
    config = loop.read_config(finished_inpainting_run)
    images = load_builtin("digits", 36).images
    held_out = config.held_out(len(images))
    shown = held_out[np.arange(6) * len(held_out) // 6]
    truth = np.ascontiguousarray(images[shown][:, 2:34, 2:34])
    pipe = InpaintingPipeline.from_pretrained(finished_inpainting_run)
    last = log_of(finished_inpainting_run, "metrics.jsonl")[-1]
    for kind, masks_of in MASKS.items():
        masks = Masks(masks_of, (32, 32)).batch(0, range(6))
        completed = np.stack(pipe.complete(list(truth), list(masks), "native"))
        expected = reconstruction(truth, completed, masks)
        for name in ("psnr", "ssim", "mae", "mask_mae"):
            values = getattr(expected, name)
            assert last[f"refined.{kind}.{name}"] == pytest.approx(values.mean(), rel=1e-6)
    assert last["l1"] > 0


@pytest.mark.promise
def test_the_best_model_of_each_phase_has_its_highest_mean_psnr(finished_inpainting_run):
    lines = log_of(finished_inpainting_run, "metrics.jsonl")
    scores = {line["step"]: -np.mean([line[f"refined.{kind}.psnr"] for kind in MASKS]) for line in lines}
    assert {line["step"]: line["phase"] for line in lines} == {2: 1, 4: 2, 6: 2}  # phase 1 ends after step 3
    best = min((4, 6), key=lambda step: scores[step])
    steps = [step_of(finished_inpainting_run / name) for name in ("model", "best", "best-phase-1")]
    assert steps == [6, best, 2]


@pytest.mark.promise
def test_rates_that_fall_in_each_phase_go_on_bit_for_bit(tiny_inpainting_arguments, tmp_path, monkeypatch):
    """Phase 1 as a run of its own, then phase 2, is the run of both phases."""
    falling = [*tiny_inpainting_arguments, "--lr_schedule", "cosine", "--phases.lr_scale", "0.5"]
    rates, orders, whole, parts = [], [], tmp_path / "whole", tmp_path / "parts"
    step, prefetcher = InpaintingTask.step, loop.Prefetcher

    def watched(self, now, batches):
        metrics = step(self, now, batches)
        rates.append(self.optimizers["generator"].param_groups[0]["lr"] / self.config.generator_lr)
        return metrics

    def reading(dataset, order, *more, **options):
        orders.append(order)
        return prefetcher(dataset, order, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(InpaintingTask, "step", watched)
        patch.setattr(loop, "Prefetcher", reading)
        assert main([*INPAINT, str(whole), *falling]) == 0
    assert rates == pytest.approx([1, 0.75, 0.25, 0.5, 0.375, 0.125])
    trained_on = np.concatenate([orders[0](batch) for batch in range(450)])
    assert not np.isin(trained_on, loop.read_config(whole).held_out(1797)).any()
    assert main([*INPAINT, str(parts), *falling, "--steps", "3"]) == 0
    assert main(["resume", str(parts), "--steps", "6"]) == 0
    assert main(["resume", str(parts), "--steps", "7"]) == 2  # the rates of phase 2 fall towards step 6 already
    assert differences(final_state(parts)["task"], final_state(whole)["task"]) == []
    assert (parts / "best/model.safetensors").read_bytes() == (whole / "best/model.safetensors").read_bytes()


@pytest.fixture
def make(tiny_inpainting_config):
    """Builds a task from the tiny configuration with some changes, with its validation images."""
    digits = load_builtin("digits", 36)
    images = ImageDataset(digits.images[:40], digits.labels[:40], digits.class_names)

    def build(**changes):
        config = derive(tiny_inpainting_config, {name.replace("__", "."): value for name, value in changes.items()})
        task = InpaintingTask(config, ALONE)
        task.prepare_evaluation(images)
        return task

    return build


def test_phase_1_trains_the_generator_alone_and_phase_2_both(make):
    task = make(phases__at_step=1)
    for step, both in ((0, False), (1, True)):
        count = task.batches_before(step + 1) - task.batches_before(step)
        assert count == (3 if both else 1)
        generator, critic, average = weights(task.generator), weights(task.critic), weights(task.ema.module)
        metrics = task.step(step, [batch_of(i, size=36) for i in range(count)])
        assert moved(generator, task.generator) and moved(average, task.ema.module)
        # A constant in the score of all images has no gradient.
        assert moved(critic, task.critic) == (critic.keys() - {"whole.9.bias", "local.9.bias"} if both else set())
        assert ("wasserstein" in metrics) is both
        assert all(torch.isfinite(value) for value in metrics.values())
        assert all(p.grad is None for network in task.networks.values() for p in network.parameters())


@pytest.mark.promise
def test_pieces_have_the_crops_flips_and_masks_of_the_whole_batch(make):
    whole, parts = make(), make(accumulation=2)
    batch = batch_of(size=36)
    ((x, mask, rows),) = whole._pieces(7, batch)
    assert (x.shape, mask.shape, rows) == ((4, 3, 32, 32), (4, 1, 32, 32), slice(0, 4))
    pieces = list(parts._pieces(7, batch))
    assert [piece[2] for piece in pieces] == [slice(0, 2), slice(2, 4)]
    assert torch.equal(torch.cat([piece[0] for piece in pieces]), x)
    assert torch.equal(torch.cat([piece[1] for piece in pieces]), mask)
    other, other_mask, _ = next(whole._pieces(8, batch))
    assert not torch.equal(other, x) and not torch.equal(other_mask, mask)


@pytest.mark.promise
def test_eq_9_with_all_its_weights(make):
    plain, weighted = make(phases__at_step=0), make(phases__at_step=0, reconstruction_weight=2.0, coarse_weight=0.5)
    for task in (plain, weighted):
        task.critic.requires_grad_(False)
        metrics = task._update_generator(0, batch_of(size=36), True)
        config = task.config
        expected = config.reconstruction_weight * (
            config.coarse_weight * metrics["l1_coarse"] + metrics["l1_refined"]
        ) + (1e-3 * metrics["loss_adversarial"] + 1e-3 * metrics["orthogonal_g"])
        torch.testing.assert_close(metrics["loss_g"], expected)


def test_a_flat_folder_and_validation_images_of_another(tiny_inpainting_arguments, tmp_path, capsys):
    for folder, count in (("train", 6), ("val", 3)):
        (tmp_path / folder).mkdir()
        for index, image in enumerate(batch_of(count=count, size=50)[0]):
            Image.fromarray(image[: 40 + index]).save(tmp_path / folder / f"{index}.png")
    command = ["train", "inpaint-an-64-cpu", "--data", str(tmp_path / "train"), "--val_data", str(tmp_path / "val")]
    run = tmp_path / "runs" / "mine"
    assert main([*command, "--out", str(run), *tiny_inpainting_arguments, "--steps", "2"]) == 0
    assert "6 images at 36×36" in capsys.readouterr().out
    assert main(["resume", str(run), "--steps", "4"]) == 0
