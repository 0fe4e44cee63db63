"""A compiled training is the same training: its losses, its checkpoints, and what it shows of itself."""

import pytest
import torch

from attnorm.config import derive
from attnorm.training import adversarial
from attnorm.training.class_conditional import ClassConditionalTask
from attnorm.training.inpainting import InpaintingTask
from tests.runs import ALONE, batch_of

# 8 x 8 images: every block is traced in every mode, so there are as few as there can be.
SMALLER = {
    "generator.image_size": 8,
    "generator.channels": (8, 8),
    "generator.long_range.block": 0,
    "discriminator.image_size": 8,
    "discriminator.channels": (8, 8),
    "discriminator.downsamples": 1,
    "discriminator.concat_after": 1,
    "discriminator.long_range.block": 0,
}


@pytest.fixture
def without_code_generation(monkeypatch):
    """Graphs are traced and differentiated as for any backend, and run by PyTorch's own operations."""
    torch._dynamo.reset()
    monkeypatch.setattr(
        adversarial, "compile_network", lambda network: network.compile(dynamic=False, backend="aot_eager")
    )


@pytest.mark.promise
@pytest.mark.slow
@pytest.mark.usefixtures("without_code_generation")
def test_compiled_networks_train_as_others_do(tiny_config):
    config = derive(tiny_config, SMALLER)
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


@pytest.mark.usefixtures("without_code_generation")
def test_the_critic_of_inpainting_is_never_compiled(tiny_inpainting_config):
    """Its gradient is differentiated again, which no compiled graph can be."""
    task = InpaintingTask(derive(tiny_inpainting_config, {"compile": True}), ALONE)
    compiled = [each._compiled_call_impl is not None for each in (task.generator, task.critic, task.ema.module)]
    assert compiled == [True, False, False]
