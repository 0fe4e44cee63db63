"""One step of class-conditional training, with networks so small that it takes milliseconds."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from attnorm.config import derive
from attnorm.layers import orthogonal_loss
from attnorm.layers.weights import SpectralNorm
from attnorm.models.class_conditional import Generator
from attnorm.training import class_conditional
from attnorm.training.class_conditional import ClassConditionalTask
from attnorm.training.losses import hinge_discriminator_loss
from attnorm.training.runtime import seed_for
from tests.runs import ALONE, batch_of, differences, moved, weights


@pytest.fixture
def make(tiny_config):
    """Builds a task from the tiny configuration with some changes."""

    def build(**changes):
        config = derive(tiny_config, {name.replace("__", "."): value for name, value in changes.items()})
        return ClassConditionalTask(config, ALONE)

    return build


def test_one_step_moves_generator_discriminator_and_average(make):
    task = make()
    networks = {"generator": task.generator, "discriminator": task.discriminator, "ema": task.ema.module}
    for step in range(2):  # again too: the generator's step turns the discriminator's gradients off
        before = {name: weights(network) for name, network in networks.items()}
        task.step(step, [batch_of(step)])
        for name, network in networks.items():
            assert moved(before[name], network), name
        # The optimiser leaves nothing out but what no gradient reaches while the layer is the identity (rho = 0).
        idle = before["generator"].keys() - moved(before["generator"], task.generator)
        assert all("blocks.2.norm2" in name for name in idle), idle
        assert all(p.grad is None for n in (task.generator, task.discriminator) for p in n.parameters())


def generator_inputs(task):
    """The noise and labels of every call of the generator, as they come."""
    seen = []
    task.generator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    return seen


def by_hand(task, pieces, drawn):
    """The discriminator's losses and mean gradient over some pieces (images, labels), for inputs of the generator."""
    generator, discriminator = task.generator.train(), task.discriminator.train()
    losses = []
    for index, (images, labels) in enumerate(pieces):
        for norm in (m for network in (generator, discriminator) for m in network.modules()):
            if isinstance(norm, SpectralNorm):
                norm.train(index == 0)  # one power iteration an update, whatever the number of pieces
        purpose = (0, "discriminator", 0, index)
        x = torch.from_numpy(images).permute(0, 3, 1, 2).double().div(127.5).sub(1).float()
        x = x.contiguous(memory_format=torch.channels_last)
        z, fake_labels = drawn[index]
        torch.manual_seed(seed_for(task.config.seed, *purpose, "layers"))
        with torch.no_grad():
            fake = generator(z, fake_labels)
        scores = discriminator(torch.cat([x, fake]), torch.cat([torch.from_numpy(labels), fake_labels])).score
        loss = hinge_discriminator_loss(scores[: len(labels)], scores[len(labels) :])
        ((loss + task.config.orthogonal_weight * orthogonal_loss(discriminator)) / len(pieces)).backward()
        losses.append(loss.item())
    return losses, {name: p.grad for name, p in discriminator.named_parameters() if p.grad is not None}


def kept_gradients(task):
    """Makes `task` keep the discriminator's gradients instead of applying them."""
    found = {}

    def keep(name, losses):
        network = getattr(task, name)
        found[name] = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
        network.zero_grad(set_to_none=True)
        return torch.zeros(())

    task._apply = keep
    return found


@pytest.mark.promise
@pytest.mark.parametrize("accumulation", [1, 2])
def test_accumulation_gives_the_mean_loss_and_gradient_of_its_pieces(accumulation, make):
    task, twin = make(accumulation=accumulation), make(accumulation=accumulation)
    images, labels = batch_of()
    size = 4 // accumulation
    pieces = [(images[i : i + size], labels[i : i + size]) for i in range(0, 4, size)]
    found, drawn = kept_gradients(task), generator_inputs(task)
    metrics = task.step(0, [(images, labels)])
    losses, expected = by_hand(twin, pieces, drawn)
    assert metrics["loss_d"].item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert found["discriminator"].keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found["discriminator"][name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.promise
def test_the_orthogonal_loss_enters_with_its_weight(make):
    """At rho = 0 the scores do not depend on the layer at all, so its entities feel this loss alone."""
    plain, weighted, without = make(orthogonal_weight=1e-3), make(orthogonal_weight=2e-3), make(orthogonal_weight=0.0)
    gradients = []
    for task in (plain, weighted, without):
        for network in (task.generator, task.discriminator):
            for name, p in network.named_parameters():
                if name.endswith("entities.weight"):
                    p.data.mul_(1.5)  # orthonormal entities would have no loss
        found = kept_gradients(task)
        metrics = task.step(0, [batch_of()])
        assert metrics["orthogonal_d"].item() == pytest.approx(4 * (1.5**2 - 1) ** 2, rel=1e-4)
        assert metrics["orthogonal_g"].item() == pytest.approx(4 * (1.5**2 - 1) ** 2, rel=1e-4)
        gradients.append({n: g for found_in in found.values() for n, g in found_in.items() if "entities" in n})
    one, two, none = gradients
    assert len(one) == 2
    for name, gradient in one.items():
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(two[name], 2 * gradient)
        assert name not in none or not none[name].any()


@pytest.mark.parametrize(("flip", "least", "most"), [(True, 10, 30), (False, 0, 0)])  # of 40; the seed is fixed
def test_horizontal_flip_mirrors_about_half_of_the_images_and_changes_nothing_else(flip, least, most, make):
    task, seen, mirrored = make(horizontal_flip=flip), [], 0
    task.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for step in range(10):
        seen.clear()
        images, labels = batch_of(step)
        task.step(step, [(images, labels)])
        judged = ((seen[0] + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        for shown, image in zip(judged, images, strict=False):  # real images come first
            mirrored += (other_way := np.array_equal(shown, image[:, ::-1]))
            assert other_way or np.array_equal(shown, image)
    assert least <= mirrored <= most


def trained(task, steps=2):
    for step in range(steps):
        task.step(step, [batch_of(step)])
    return task.state()


@pytest.mark.promise
def test_the_same_seed_gives_the_same_state_bitwise_whatever_the_global_generator_and_who_watches(make, tmp_path):
    torch.manual_seed(1)
    first = trained(make())
    torch.manual_seed(2)
    second = make()
    torch.manual_seed(3)
    for step in range(2):
        second.step(step, [batch_of(step)])
        second.usage()
        second.write_samples(tmp_path / f"{step}.png")
        second.save_model(tmp_path / "model")
    assert differences(first, second.state()) == []


@pytest.mark.promise
def test_the_saved_model_is_the_averaged_generator_with_measured_moments(make, tmp_path):
    task = make()
    trained(task)
    task.save_model(tmp_path / "model")
    loaded = Generator.from_pretrained(str(tmp_path / "model"))
    expected = task.sampling_generator()
    z, labels = task._fixed_inputs()
    torch.testing.assert_close(loaded(z, labels), expected(z, labels), rtol=0, atol=1e-5)  # another memory format
    assert not torch.equal(loaded.norm.running_mean, task.ema.module.norm.running_mean)
    assert differences(dict(loaded.named_parameters()), dict(task.ema.module.named_parameters())) == []


@pytest.mark.promise
def test_an_auxiliary_classifier_learns_from_real_and_generated_images_and_teaches_the_generator(make):
    task = make(discriminator__conditioning="auxiliary", auxiliary_weight=2.0, orthogonal_weight=0.0)
    twin = make(discriminator__conditioning="auxiliary", auxiliary_weight=0.0, orthogonal_weight=0.0)
    gradients, drawn = [kept_gradients(one) for one in (task, twin)], generator_inputs(task)
    images, labels = batch_of()
    metrics = task.step(0, [(images, labels)])
    assert metrics.keys() == twin.step(0, [(images, labels)]).keys()

    fresh = make(discriminator__conditioning="auxiliary")
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    z, fake_labels = drawn[0]
    torch.manual_seed(seed_for(fresh.config.seed, 0, "discriminator", 0, 0, "layers"))
    with torch.no_grad():
        fake = fresh.generator.train()(z, fake_labels)
    every = torch.cat([torch.from_numpy(labels), fake_labels])
    logits = fresh.discriminator.train()(torch.cat([x, fake]), every).class_logits
    # Odena et al.: E[log P(C = c | real)] + E[log P(C = c | fake)]. The classifier's bias learns from this loss alone.
    expected = functional.cross_entropy(logits[:4], every[:4]) + functional.cross_entropy(logits[4:], every[4:])
    torch.testing.assert_close(metrics["auxiliary_d"], expected.detach(), rtol=1e-4, atol=1e-5)
    [gradient] = torch.autograd.grad(2 * expected, fresh.discriminator.classify.bias)
    learnt, unused = (found["discriminator"]["classify.bias"] for found in gradients)
    torch.testing.assert_close(learnt, gradient, rtol=1e-4, atol=1e-5)
    assert unused.abs().max() == 0
    taught, untaught = (found["generator"] for found in gradients)  # which class its images look like
    assert any(not torch.equal(taught[name], untaught[name]) for name in taught)


def test_both_networks_are_trained_on_augmented_images(make, monkeypatch):
    seen = []
    original = class_conditional.augmented
    monkeypatch.setattr(
        class_conditional, "augmented", lambda x, *rest: (seen.append((x, original(x, *rest))), seen[-1][1])[1]
    )
    task, judged = make(augment=("color", "translation", "cutout")), []
    task.discriminator.register_forward_pre_hook(lambda module, args: judged.append(args[0].detach()))
    task.step(0, [batch_of()])
    assert [len(x) for x, _ in seen] == [8, 4]  # real and generated together, then generated
    assert all(torch.equal(a.detach(), b) for (_, a), b in zip(seen, judged, strict=True))
    assert all(not torch.equal(x, out) for x, out in seen)


@pytest.mark.promise
@pytest.mark.slow
def test_compiled_networks_train_as_others_do(tiny_config, monkeypatch):
    """Graphs are traced and differentiated as for any backend, and run by PyTorch's own operations."""
    torch._dynamo.reset()
    traced = {"dynamic": False, "backend": "aot_eager"}
    compiled_with = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network, **_: compiled_with(network, **traced))
    # 8 x 8 images: every block is traced in every mode, so there are as few as there can be.
    changes = {"channels": (8, 8), "image_size": 8, "long_range.block": 0}
    config = derive(
        tiny_config,
        {f"{network}.{name}": value for network in ("generator", "discriminator") for name, value in changes.items()}
        | {"discriminator.downsamples": 1, "discriminator.concat_after": 1},
    )
    plain = ClassConditionalTask(config, ALONE)
    compiled = ClassConditionalTask(derive(config, {"compile": True}), ALONE)
    for step in range(2):
        batch = batch_of(step, size=8)
        expected, found = plain.step(step, [batch]), compiled.step(step, [batch])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for name in ("generator", "discriminator"):
        assert list(compiled.state()[name]) == list(plain.state()[name])
    assert compiled.usage() == pytest.approx(plain.usage(), rel=1e-3)
    plain.load_state(compiled.state())


def test_fp16_skips_a_step_that_overflows_lowers_the_scale_and_resumes_exactly(make):
    task = make(precision="fp16")
    before, state = weights(task.generator), task.scalers["generator"].state_dict()
    for name, scale in (("generator", 2.0**127), ("discriminator", 16.0)):
        task.scalers[name].load_state_dict(state | {"scale": scale})
    metrics = task.step(0, [batch_of()])
    assert not moved(before, task.generator) and metrics["gradient_g"] == 0
    assert 0 < metrics["gradient_d"] < 100  # unscaled
    assert task.scalers["generator"].get_scale() == 2.0**126
    task.scalers["generator"].load_state_dict(state | {"scale": 16.0})
    task.step(1, [batch_of(1)])
    assert moved(before, task.generator)
    second = make(precision="fp16")
    second.load_state(copy.deepcopy(task.state()))  # an optimiser would share its tensors
    for each in (task, second):
        each.step(2, [batch_of(2)])
    assert differences(task.state(), second.state()) == []
