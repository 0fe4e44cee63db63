"""Exported files do what the network does, for batches and sizes other than those that they were traced with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attnorm.cli import export as export_command
from attnorm.cli import main
from attnorm.errors import UserError
from attnorm.exporting import files
from attnorm.exporting.program import program_of
from attnorm.inpainting_pipeline import InpaintingPipeline
from attnorm.models.class_conditional import Generator
from attnorm.models.inpainting import BranchConfig, InpaintingGenerator, InpaintingGeneratorConfig

EXAMPLES = Path(__file__).parents[2] / "examples"
TOLERANCE = 1e-4


def saved_inpainter(folder, kind):
    """An untrained network that says something, and whose layer does something."""
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


def session_of(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(path)


@pytest.fixture(scope="module")
def generator_file(tmp_path_factory):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    path = tmp_path_factory.mktemp("onnx") / "digits.onnx"
    assert main(["export", "an-gan-digits", "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def inpainter(tmp_path_factory):
    return saved_inpainter(tmp_path_factory.mktemp("inpainter") / "model", "attentive_norm")


@pytest.fixture(scope="module")
def inpainter_file(inpainter, tmp_path_factory):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    path = tmp_path_factory.mktemp("onnx") / "holes.onnx"
    assert main(["export", str(inpainter), "-o", str(path)]) == 0
    return path


@pytest.mark.parametrize("batch", [1, 5])
def test_an_onnx_generator_draws_what_the_network_draws(generator_file, batch):
    noise, labels = torch.randn(batch, 128, generator=torch.Generator().manual_seed(9)), torch.arange(batch) + 3
    with torch.no_grad():
        expected = Generator.from_pretrained("an-gan-digits")(noise, labels).numpy()
    [found] = session_of(generator_file).run(None, {"noise": noise.numpy(), "labels": labels.numpy()})
    assert np.abs(found - expected).max() <= TOLERANCE
    assert expected.std() > 0.1


def test_a_file_without_a_name_is_called_as_the_model(inpainter, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export_command, "export", lambda program, path, kind: path.write_bytes(b"made") and 0.0)
    assert main(["export", "an-gan-digits", "--format", "onnx"]) == 0
    assert main(["export", str(inpainter), "--format", "torch-export"]) == 0  # in a folder model/, as a run has it
    named = f"{inpainter.parent.name}.pt2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["an-gan-digits.onnx", named]
    assert capsys.readouterr().out.startswith("an-gan-digits.onnx: onnx, ")
    assert main(["export", "an-gan-digits", "--format", "onnx"]) == 2
    assert "an-gan-digits.onnx exists already" in capsys.readouterr().err
    assert main(["export", "an-gan-digits", "--format", "onnx", "--force"]) == 0


def test_its_metadata_says_what_a_program_needs(generator_file):
    about = session_of(generator_file).get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == list("0123456789")
    assert (about["latent_dim"], about["image_size"], about["task"]) == ("128", "32", "class-conditional")
    assert about["licence"] == "mit"


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 32, 32), (3, 100, 68), (1, 160, 256)])
def test_an_onnx_inpainter_completes_pictures_of_every_size(inpainter, inpainter_file, batch, height, width):
    picture = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mask = torch.zeros(batch, 1, height, width)
    mask[:, :, 8:24, 4:20] = 1
    with torch.no_grad():
        refined = InpaintingGenerator.from_pretrained(inpainter)(picture, mask).refined
    expected = torch.where(mask != 0, refined, picture).numpy()
    [found] = session_of(inpainter_file).run(None, {"picture": picture.numpy(), "mask": mask.numpy()})
    assert np.abs(found - expected).max() <= TOLERANCE
    assert np.array_equal(found[..., 24:, :], picture.numpy()[..., 24:, :])
    assert refined.std() > 0.01


@pytest.mark.parametrize("kind", ["contextual_attention", "none"])
def test_an_exported_program_of_pytorch_does_too(kind, tmp_path, capsys):
    model = saved_inpainter(tmp_path / "model", kind)
    assert main(["export", str(model), "-o", str(tmp_path / "holes.pt2")]) == 0
    out = capsys.readouterr().out
    assert "torch-export" in out and "largest difference from the network: " in out
    extra = {"attnorm.json": ""}
    loaded = torch.export.load(tmp_path / "holes.pt2", extra_files=extra).module()
    stride = int(json.loads(extra["attnorm.json"])["stride"])
    assert stride == (8 if kind == "contextual_attention" else 4)
    picture, mask = torch.rand(1, 3, 15 * stride, 12 * stride), torch.zeros(1, 1, 15 * stride, 12 * stride)
    mask[..., 9:20, 9:20] = 1
    with torch.no_grad():
        refined = InpaintingGenerator.from_pretrained(model)(picture, mask).refined
        torch.testing.assert_close(
            loaded(picture, mask), torch.where(mask != 0, refined, picture), rtol=0, atol=TOLERANCE
        )


def without_torch(script, *arguments):
    """Runs an example where PyTorch cannot be imported."""
    code = (
        "import runpy, sys; sys.modules['torch'] = None; script = sys.argv[1]; sys.argv = sys.argv[1:]; "
        "runpy.run_path(script, run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(EXAMPLES / script), *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def test_the_example_draws_without_pytorch(generator_file, tmp_path):
    without_torch("onnx_generate.py", generator_file, "3", tmp_path / "threes.png")
    with Image.open(tmp_path / "threes.png") as image:
        assert image.size == (8 * 32, 32)
        pixels = np.asarray(image)
    noise = np.random.default_rng(0).standard_normal((8, 128), np.float32)
    with torch.no_grad():
        drawn = Generator.from_pretrained("an-gan-digits")(torch.from_numpy(noise), torch.full((8,), 3)).numpy()
    expected = np.concatenate(((drawn + 1) * 127.5).transpose(0, 2, 3, 1), axis=1)
    assert np.abs(pixels - expected).max() <= 0.6


def test_the_example_completes_as_the_pipeline_does_without_pytorch(inpainter, inpainter_file, tmp_path):
    random = np.random.default_rng(0)
    picture, mask = random.integers(0, 256, (50, 70, 3), np.uint8), np.zeros((50, 70), np.uint8)
    mask[10:30, 20:41] = 255
    Image.fromarray(picture).save(tmp_path / "photo.png")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    without_torch("onnx_inpaint.py", inpainter_file, *(tmp_path / f"{n}.png" for n in ("photo", "mask", "out")))
    with Image.open(tmp_path / "out.png") as image:
        found = np.asarray(image)
    [expected] = InpaintingPipeline.from_pretrained(inpainter).fill([picture], [mask > 0])
    assert np.array_equal(found[mask == 0], picture[mask == 0])
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_a_file_that_computes_something_else_is_not_kept(inpainter, tmp_path, monkeypatch):
    monkeypatch.setitem(
        files.FORMATS,
        "torch-export",
        files.Format(
            ".pt2",
            lambda program, path: path.write_bytes(b"wrong"),
            lambda program, path: lambda arguments: program.module(*arguments).numpy() + 2e-4,
        ),
    )
    with pytest.raises(UserError, match=r"differs from the network by 2\.0e-04, more than 1e-04"):
        files.export(program_of(inpainter), tmp_path / "holes.pt2", "torch-export")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(inpainter, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"need the package '(onnx|onnxscript)': pip install 'attnorm\[export\]'"):
        files.export(program_of(inpainter), tmp_path / "holes.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_one_sentence_and_leaves_nothing(inpainter, tmp_path):
    """A limit on the length of files stands for the full disk; in a process of its own, for torch used to abort it."""
    code = (
        "import resource, sys; from attnorm.cli import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY));"
        "sys.exit(main(sys.argv[1:]))"
    )
    path = tmp_path / "holes.pt2"
    command = [sys.executable, "-c", code, "export", str(inpainter), "-o", str(path)]
    # The kernel's build, should there be none yet, is longer than that too.
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"ATTNORM_CPU_KERNEL": "off"}
    )
    assert (done.returncode, list(tmp_path.iterdir())) == (2, []), done.stderr
    assert done.stderr.startswith(f"attnorm: error: cannot write {path} (File too large)")
    assert done.stderr.count("\n") == 1


def test_what_cannot_be_exported_is_refused(inpainter, tmp_path, capsys):
    def refused(*arguments):
        assert main(["export", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "must end in .onnx or .pt2" in refused(inpainter, "-o", tmp_path / "model.bin")
    assert "there is no run or model at nowhere" in refused("nowhere", "-o", tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_text("mine")
    assert "exists already" in refused(inpainter, "-o", tmp_path / "model.onnx")
    assert "invalid choice" in refused(inpainter, "-o", tmp_path / "x.onnx", "--format", "tflite")
