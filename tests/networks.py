"""Small networks with random weights that do something: what they draw or complete can be compared."""

import torch

from attnorm.models.class_conditional import Generator, GeneratorConfig, LongRangeConfig
from attnorm.models.inpainting import BranchConfig, InpaintingGenerator, InpaintingGeneratorConfig


def generator(kind="attentive_norm", class_names=("cat", "0", "dog")):
    """A generator of 32 x 32 images whose classes look different."""
    torch.manual_seed(0)
    spot = LongRangeConfig(kind=kind, num_entities=4, temperature=1.0)
    config = GeneratorConfig(
        num_classes=len(class_names), channels=(8,) * 4, latent_dim=16, long_range=spot, class_names=class_names
    )
    network = Generator(config)
    with torch.no_grad():
        if kind == "attentive_norm":
            network.blocks[2].norm2.residual_gain.fill_(1)
        for module in network.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight.add_(torch.randn_like(module.weight) / 2)
    return network


def inpainter(kind="attentive_norm", image_size=64):
    """An inpainting generator that changes what is missing."""
    torch.manual_seed(0)
    branch = BranchConfig(kind=kind, num_entities=4, temperature=1.0)
    network = InpaintingGenerator(InpaintingGeneratorConfig(image_size=image_size, width=4, branch=branch)).train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)  # an untrained network changes nearly nothing
        if network.attentive.norm is not None:
            network.attentive.norm.residual_gain.fill_(1)
    return network
