"""Exported files compute what the network does, for batches and sizes other than those that they were traced with."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from attnorm import export as exporting
from attnorm.cli import main
from attnorm.errors import UserError
from attnorm.models.class_conditional import Generator
from attnorm.models.inpainting import InpaintingGenerator
from attnorm.pipelines.inpainting import InpaintingPipeline
from tests import networks

EXAMPLES = Path(__file__).parents[2] / "examples"
TOLERANCE = 1e-4


def completed_by(model, image, mask):
    """The network's composite, padded by reflection to a multiple of its stride."""
    network = InpaintingGenerator.from_pretrained(model)
    height, width = image.shape[2:]
    margin = (0, -width % network.config.stride, 0, -height % network.config.stride)
    with torch.no_grad():
        refined = network(*(functional.pad(t, margin, mode="reflect") for t in (image, mask))).refined
    assert refined.std() > 0.01
    return torch.where(mask != 0, refined[..., :height, :width], image).numpy()


def session_of(path):
    return pytest.importorskip("onnxruntime").InferenceSession(path)


@pytest.fixture(scope="module")
def generator_file(tmp_path_factory):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    path = tmp_path_factory.mktemp("onnx") / "digits.onnx"
    assert main(["export", "an-gan-digits", "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def inpainter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inpainter") / "model"
    networks.inpainter().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def inpainter_file(generator_file, inpainter, tmp_path_factory):
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
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 32, 32), (3, 101, 67), (1, 70, 35)])
def test_an_onnx_inpainter_equals_the_network_at_every_size(inpainter, inpainter_file, batch, height, width):
    image = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mask = torch.zeros(batch, 1, height, width)
    mask[:, :, 8:24, 4:20] = 1
    [completed] = session_of(inpainter_file).run(None, {"image": image.numpy(), "mask": mask.numpy()})
    assert np.abs(completed - completed_by(inpainter, image, mask)).max() <= TOLERANCE
    assert np.array_equal(completed[..., 24:, :], image.numpy()[..., 24:, :])


@pytest.mark.promise
@pytest.mark.parametrize("kind", ["contextual_attention", "none"])
def test_an_exported_program_of_pytorch_equals_the_network(kind, tmp_path):
    networks.inpainter(kind).save_pretrained(model := tmp_path / "model")
    exporting.export(model, tmp_path / "inpaint.pt2")
    extra = {exporting.METADATA_FILE: ""}
    loaded = torch.export.load(tmp_path / "inpaint.pt2", extra_files=extra).module()
    assert json.loads(extra[exporting.METADATA_FILE])["smallest_side"] == "32"
    image, mask = torch.rand(1, 3, 61, 98), torch.zeros(1, 1, 61, 98)
    mask[..., 9:20, 9:20] = 1
    assert np.abs(loaded(image, mask).numpy() - completed_by(model, image, mask)).max() <= TOLERANCE


@pytest.mark.promise
def test_a_file_in_half_precision_is_smaller_and_close_to_the_network(generator_file, tmp_path, capsys):
    assert main(["export", "an-gan-digits", "--half", "-o", str(tmp_path / "half.onnx")]) == 0
    assert (tmp_path / "half.onnx").stat().st_size < 0.65 * generator_file.stat().st_size
    inputs = {"noise": np.random.default_rng(0).standard_normal((6, 128), np.float32), "labels": np.arange(6)}
    half, whole = (session_of(path).run(None, inputs)[0] for path in (tmp_path / "half.onnx", generator_file))
    assert half.dtype == np.float32 and 1e-5 < np.abs(half - whole).max() < 2e-2


def without_torch(script, *arguments):
    """Runs an example where PyTorch cannot be imported; returns its last line of errors."""
    code = "import runpy, sys; sys.modules['torch'] = None; del sys.argv[0]; runpy.run_path(sys.argv[0])"
    command = [sys.executable, "-c", code, str(EXAMPLES / script), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == (2 if done.stderr else 0) and "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1] if done.stderr else ""


def test_the_generator_example_runs_without_pytorch(generator_file, tmp_path):
    assert without_torch("onnx_generate.py", generator_file, "3", tmp_path / "threes.png") == ""
    assert "there is no class 'x': choose from 0, 1" in without_torch("onnx_generate.py", generator_file, "x", "x.png")
    noise = np.random.default_rng(0).standard_normal((8, 128), np.float32)
    [images] = session_of(generator_file).run(None, {"noise": noise, "labels": np.full(8, 3)})
    expected = np.concatenate(((images + 1) * 127.5).transpose(0, 2, 3, 1), axis=1)
    assert np.abs(np.asarray(Image.open(tmp_path / "threes.png")) - expected).max() <= 0.6


def test_the_inpainting_example_equals_the_pipeline_without_pytorch(inpainter, inpainter_file, tmp_path):
    random = np.random.default_rng(0)
    image, mask = random.integers(0, 256, (50, 70, 3), np.uint8), np.zeros((50, 70), np.uint8)
    mask[10:30, 20:41] = 255
    Image.fromarray(image).save(tmp_path / "photo.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    photo, white, out = (tmp_path / f"{name}.png" for name in ("photo", "mask", "out"))
    assert without_torch("onnx_inpaint.py", inpainter_file, photo, white, out) == ""
    assert "No such file" in without_torch("onnx_inpaint.py", inpainter_file, photo, tmp_path / "none.png", out)
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
