"""A compiled training is the same training: its losses, its checkpoints, and what it shows of itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from attnorm.cli import main
from attnorm.config import derive
from attnorm.errors import UserError
from attnorm.training import compilation
from attnorm.training.class_conditional import ClassConditionalConfig, ClassConditionalTask
from attnorm.training.compilation import check_compiler
from attnorm.training.inpainting import InpaintingTask

CPU = torch.device("cpu")


def smaller(config: ClassConditionalConfig) -> ClassConditionalConfig:
    """With 16 x 16 pictures: every block is traced in every mode, so there are as few as there can be."""
    first, second = (
        network.long_range.model_copy(update={"block": block})
        for network, block in ((config.generator, 1), (config.discriminator, 0))
    )
    generator = config.generator.model_copy(update={"image_size": 16, "channels": (8, 8, 8), "long_range": first})
    changes = {"image_size": 16, "channels": (8, 8), "downsamples": 2, "concat_after": 1, "long_range": second}
    discriminator = config.discriminator.model_copy(update=changes)
    return config.model_copy(update={"generator": generator, "discriminator": discriminator})


@pytest.fixture
def without_code_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are traced and differentiated as for any backend, and run by PyTorch's own operations."""
    torch._dynamo.reset()
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")


@pytest.mark.slow
@pytest.mark.usefixtures("without_code_generation")
def test_compiled_networks_train_as_others_do(tiny_config) -> None:
    config = smaller(tiny_config)
    plain = ClassConditionalTask(config, Accelerator(cpu=True))
    compiled = ClassConditionalTask(derive(config, {"compile": True}), Accelerator(cpu=True))
    random = np.random.default_rng(0)
    for step in range(2):
        batch = random.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8), random.integers(0, 10, 4)
        wanted, found = plain.step(step, [batch]), compiled.step(step, [batch])
        assert found.keys() == wanted.keys()
        for name in wanted:
            torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=1e-4)
    for name in ("generator", "discriminator"):
        assert list(compiled.state()[name]) == list(plain.state()[name])
    assert compiled.usage() == pytest.approx(plain.usage(), rel=1e-3)
    plain.load_state(compiled.state())


@pytest.mark.usefixtures("without_code_generation")
def test_the_critic_of_inpainting_is_never_compiled(tiny_inpainting_config) -> None:
    """Its gradient is differentiated again, which no compiled graph can be."""
    task = InpaintingTask(derive(tiny_inpainting_config, {"compile": True}), Accelerator(cpu=True))
    assert task.generator._compiled_call_impl is not None
    assert task.critic._compiled_call_impl is None
    assert task.ema.module._compiled_call_impl is None


def test_without_a_compiler_the_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("details\nNo working C++ compiler found\n\n")

    monkeypatch.setattr(compilation, "BACKEND", broken)
    with pytest.raises(UserError, match=r"cannot run here \(.*\): install a C\+\+ compiler such as g\+\+"):
        check_compiler(CPU)


def test_a_run_that_cannot_be_compiled_leaves_nothing_behind(
    tiny_arguments, tmp_path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(compilation, "BACKEND", broken)
    run = tmp_path / "run"
    arguments = ["train", "an-gan-digits", "--data", "digits", "--out", str(run), *tiny_arguments]
    assert main([*arguments, "--compile", "true"]) == 2
    assert "torch.compile cannot run here" in capsys.readouterr().err
    assert not run.exists()
