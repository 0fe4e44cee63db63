"""Exported files compute what the network does, for batches and sizes other than those that they were traced with."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm import export as exporting
from attnorm.cli import main
from attnorm.errors import UserError
from attnorm.models.class_conditional import Generator
from attnorm.models.inpainting import BranchConfig, InpaintingGenerator, InpaintingGeneratorConfig
from attnorm.pipelines.inpainting import InpaintingPipeline

EXAMPLES = Path(__file__).parents[2] / "examples"
TOLERANCE = 1e-4


def saved_inpainter(folder, kind):
    """An untrained network whose output varies and whose layer has an effect."""
    torch.manual_seed(0)
    branch = BranchConfig(kind=kind, num_entities=4, temperature=1.0)
    network = InpaintingGenerator(InpaintingGeneratorConfig(image_size=64, width=4, branch=branch))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
        if network.attentive.norm is not None:
            network.attentive.norm.residual_gain.fill_(1)
    network.save_pretrained(folder)
    return folder


def completed_by(model, image, mask):
    with torch.no_grad():
        refined = InpaintingGenerator.from_pretrained(model)(image, mask).refined
    assert refined.std() > 0.01
    return torch.where(mask != 0, refined, image).numpy()


def session_of(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path)


@pytest.fixture(scope="module")
def onnx():
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)


@pytest.fixture(scope="module")
def generator_file(onnx, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "digits.onnx"
    assert main(["export", "an-gan-digits", "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def inpainter(tmp_path_factory):
    return saved_inpainter(tmp_path_factory.mktemp("inpainter") / "model", "attentive_norm")


@pytest.fixture(scope="module")
def inpainter_file(onnx, inpainter, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "inpaint.onnx"
    assert exporting.export(inpainter, path) <= TOLERANCE
    return path


@pytest.mark.promise
@pytest.mark.parametrize("batch", [1, 5])
def test_an_onnx_generator_equals_the_network(generator_file, batch):
    noise, labels = torch.randn(batch, 128, generator=torch.Generator().manual_seed(9)), torch.arange(batch) + 3
    with torch.no_grad():
        expected = Generator.from_pretrained("an-gan-digits")(noise, labels).numpy()
    session = session_of(generator_file)
    [images] = session.run(None, {"noise": noise.numpy(), "labels": labels.numpy()})
    assert np.abs(images - expected).max() <= TOLERANCE
    assert expected.std() > 0.1
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == list("0123456789") and metadata["latent_dim"] == "128"
    assert (metadata["task"], metadata["licence"]) == ("class-conditional", "mit")


@pytest.mark.promise
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 32, 32), (3, 100, 68)])
def test_an_onnx_inpainter_equals_the_network_at_every_size(inpainter, inpainter_file, batch, height, width):
    image = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mask = torch.zeros(batch, 1, height, width)
    mask[:, :, 8:24, 4:20] = 1
    [completed] = session_of(inpainter_file).run(None, {"image": image.numpy(), "mask": mask.numpy()})
    assert np.abs(completed - completed_by(inpainter, image, mask)).max() <= TOLERANCE
    assert np.array_equal(completed[..., 24:, :], image.numpy()[..., 24:, :])


@pytest.mark.promise
@pytest.mark.parametrize(("kind", "stride"), [("contextual_attention", 8), ("none", 4)])
def test_an_exported_program_of_pytorch_equals_the_network(kind, stride, tmp_path):
    model = saved_inpainter(tmp_path / "model", kind)
    exporting.export(model, tmp_path / "inpaint.pt2")
    extra = {exporting.METADATA_FILE: ""}
    loaded = torch.export.load(tmp_path / "inpaint.pt2", extra_files=extra).module()
    assert json.loads(extra[exporting.METADATA_FILE])["stride"] == str(stride)
    image, mask = torch.rand(1, 3, 15 * stride, 12 * stride), torch.zeros(1, 1, 15 * stride, 12 * stride)
    mask[..., 9:20, 9:20] = 1
    assert np.abs(loaded(image, mask).numpy() - completed_by(model, image, mask)).max() <= TOLERANCE


def without_torch(script, *arguments):
    """Runs an example where PyTorch cannot be imported."""
    code = "import runpy, sys; sys.modules['torch'] = None; del sys.argv[0]; runpy.run_path(sys.argv[0])"
    command = [sys.executable, "-c", code, str(EXAMPLES / script), *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def test_the_generator_example_runs_without_pytorch(generator_file, tmp_path):
    without_torch("onnx_generate.py", generator_file, "3", tmp_path / "threes.png")
    with Image.open(tmp_path / "threes.png") as image:
        pixels = np.asarray(image)
    noise = np.random.default_rng(0).standard_normal((8, 128), np.float32)
    with torch.no_grad():
        images = Generator.from_pretrained("an-gan-digits")(torch.from_numpy(noise), torch.full((8,), 3)).numpy()
    expected = np.concatenate(((images + 1) * 127.5).transpose(0, 2, 3, 1), axis=1)
    assert np.abs(pixels - expected).max() <= 0.6


def test_the_inpainting_example_equals_the_pipeline_without_pytorch(inpainter, inpainter_file, tmp_path):
    random = np.random.default_rng(0)
    image, mask = random.integers(0, 256, (50, 70, 3), np.uint8), np.zeros((50, 70), np.uint8)
    mask[10:30, 20:41] = 255
    Image.fromarray(image).save(tmp_path / "photo.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    without_torch("onnx_inpaint.py", inpainter_file, *(tmp_path / f"{n}.png" for n in ("photo", "mask", "out")))
    with Image.open(tmp_path / "out.png") as out:
        completed = np.asarray(out)
    [expected] = InpaintingPipeline.from_pretrained(inpainter).complete([image], [mask > 0])
    assert np.array_equal(completed[mask == 0], image[mask == 0])
    assert np.abs(completed.astype(int) - expected).max() <= 1


def test_a_file_that_computes_something_else_is_not_kept(inpainter, tmp_path, monkeypatch):
    def write(program, path):
        path.write_bytes(b"wrong")
        return lambda *inputs: program.module(*inputs).numpy() + 2e-4

    monkeypatch.setitem(exporting.WRITERS, ".pt2", write)
    with pytest.raises(UserError, match=r"was not kept: .* differs from the network's by 2\.0e-04, more than 1e-04"):
        exporting.export(inpainter, tmp_path / "inpaint.pt2")
    with pytest.raises(UserError, match=r"must end in \.onnx or \.pt2"):
        exporting.export(inpainter, tmp_path / "model.bin")
    assert list(tmp_path.iterdir()) == []
