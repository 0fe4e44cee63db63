"""Small models with random weights that do something, saved as trained ones are, and images to use them on."""

import numpy as np
import pytest
import torch

from attnorm.models.class_conditional import Generator, GeneratorConfig, LongRangeConfig
from attnorm.models.inpainting import BranchConfig, InpaintingGenerator, InpaintingGeneratorConfig

NAMES = ("cat", "<b>dog</b>", "0")  # a name may be anything


def save_inpainter(folder, kind):
    torch.manual_seed(0)
    branch = BranchConfig(kind=kind, num_entities=4, temperature=1.0)
    network = InpaintingGenerator(InpaintingGeneratorConfig(image_size=32, width=4, branch=branch))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)  # an untrained network says nearly nothing
        if network.attentive.norm is not None:
            network.attentive.norm.residual_gain.fill_(1)
    network.save_pretrained(folder / "model")


def save_generator(folder, kind):
    torch.manual_seed(0)
    spot = LongRangeConfig(kind=kind, num_entities=4, temperature=1.0)
    network = Generator(
        GeneratorConfig(num_classes=3, channels=(8, 8, 8, 8), latent_dim=16, long_range=spot, class_names=NAMES)
    )
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight.add_(torch.randn_like(module.weight) / 2)  # classes look different
    network.save_pretrained(folder / "model")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A folder of runs: inpainters `an` and `ca`, generators `an-gan` and `tables/plain-gan`."""
    folder = tmp_path_factory.mktemp("page") / "runs"
    save_inpainter(folder / "an", "attentive_norm")
    save_inpainter(folder / "ca", "contextual_attention")
    save_generator(folder / "an-gan", "attentive_norm")
    save_generator(folder / "tables" / "plain-gan", "none")
    return folder


@pytest.fixture
def noise():
    """An image of noise (h, w, 3) uint8, in which every touched pixel shows."""
    return lambda height, width: np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def sentence_of():
    """The one sentence that a refused call says."""
    from attnorm.errors import UserError

    def run(call, *arguments, **named):
        with pytest.raises(UserError) as caught:
            call(*arguments, **named)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return run
