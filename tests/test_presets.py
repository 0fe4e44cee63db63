"""The named configurations are the paper's where they say so, and every one can be built."""

import sys

import pytest
import torch

from attnorm.config import differences
from attnorm.models.class_conditional import Discriminator, Generator
from attnorm.models.inpainting import InpaintingCritic, InpaintingGenerator
from attnorm.presets import DATA, INPAINTING_SIZES, NAMES, get_preset


def differing(first, second):
    """The dotted names of the fields in which two presets differ."""
    return {name for name, *_ in differences(get_preset(first), get_preset(second))}


@pytest.fixture(autouse=True)
def without_warm_up(monkeypatch):
    """There is nothing to iterate on without memory, and it takes most of the time."""
    module = sys.modules["attnorm.layers.weights"]  # the package's attribute of that name is the function
    monkeypatch.setattr(module, "WARM_UP_ITERATIONS", 0)


@pytest.mark.parametrize("name", [name for name in NAMES if "inpaint" not in name])
def test_every_class_conditional_preset_can_be_built(name):
    with torch.device("meta"):  # without their memory: the paper's are large
        Generator(get_preset(name).generator)
        Discriminator(get_preset(name).discriminator)


@pytest.mark.promise
@pytest.mark.parametrize("system", ["sn-gan-star", "sa-gan", "an-gan"])
def test_imagenet128_has_the_papers_settings(system):
    config = get_preset(f"{system}-imagenet128")
    assert (config.image_size, config.batch_size, config.generator.num_classes) == (128, 256, 1000)
    assert (config.generator_lr, config.discriminator_lr, config.betas) == (1e-4, 4e-4, (0.0, 0.999))
    assert (config.discriminator_steps, config.orthogonal_weight) == (1, 1e-3)
    assert config.generator.channels == (1024, 1024, 512, 256, 128, 64)
    assert config.discriminator.channels == (64, 128, 256, 512, 1024)
    assert (config.discriminator.downsamples, config.discriminator.concat_after) == (5, 3)
    assert (config.generator.latent_dim, config.discriminator.embedding_dim) == (128, 128)
    assert (config.generator.spectral_norm, config.discriminator.spectral_norm) == (True, True)
    assert config.steps == (880_000 if system == "an-gan" else 1_000_000)


@pytest.mark.parametrize(
    ("system", "fields"),
    [
        ("an-gan-bn", {"generator.long_range.statistics", "discriminator.long_range.statistics"}),
        ("an-gan-no-orth", {"orthogonal_weight"}),
        ("an-gan-no-ssr", {"generator.long_range.self_sampling", "discriminator.long_range.self_sampling"}),
        ("an-gan-n8", {"generator.long_range.num_entities", "discriminator.long_range.num_entities"}),
        ("an-gan-n32", {"generator.long_range.num_entities", "discriminator.long_range.num_entities"}),
        ("an-gan-algorithm1", {"generator.long_range.variance", "discriminator.long_range.variance"}),
        ("an-gan-shared", {"generator.long_range.affine", "discriminator.long_range.affine"}),
        ("ac-gan", {"discriminator.conditioning"}),
    ],
)
def test_an_ablation_changes_one_thing(system, fields):
    parent = "sn-gan" if system == "ac-gan" else "an-gan"
    assert all(differing(f"{system}-{data}", f"{parent}-{data}") == fields for data in DATA)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("inpaint")])
def test_every_inpainting_preset_completes_images_of_its_size_and_judges_them(name):
    config, size = get_preset(name), get_preset(name).image_size
    with torch.device("meta"):
        generator, critic = InpaintingGenerator(config.generator), InpaintingCritic(config.critic)
        image, mask = torch.zeros(2, 3, size, size), torch.zeros(2, 1, size, size)
    assert generator(image, mask).refined.shape == (2, 3, size, size)
    assert [tuple(scores.shape) for scores in critic(image, mask)] == [(2,), (2,)]
    assert config.critic.local_size == size // 2
    assert config.prepared_size > size


def test_the_inpainting_systems_differ_in_their_branch_only():
    for size in INPAINTING_SIZES:
        for system in ("an", "ca"):
            assert differing(f"inpaint-{system}-{size}", f"inpaint-plain-{size}") == {"generator.branch.kind"}
        assert get_preset(f"inpaint-an-{size}").generator.dense_bottleneck == size.endswith("cpu")


@pytest.mark.promise
def test_inpaint_an_256_has_the_papers_settings():
    config = get_preset("inpaint-an-256")
    assert (config.image_size, config.generator.width, config.critic.width) == (256, 32, 64)
    assert (config.critic.local_size, config.batch_size, config.critic_steps) == (128, 16, 5)
    assert (config.generator_lr, config.critic_lr, config.betas) == (1e-4, 1e-4, (0.5, 0.9))
    assert (config.adversarial_weight, config.penalty_weight) == (1e-3, 10.0)
    assert (config.generator.branch.affine, config.generator.branch.num_entities) == ("none", 16)
    assert config.generator.branch.temperature == 0.1
    assert not config.generator.dense_bottleneck
    assert get_preset("demo-inpaint") == get_preset("inpaint-an-64-cpu")
