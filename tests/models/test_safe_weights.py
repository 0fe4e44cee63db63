"""Models and files from elsewhere: safetensors only, and no pickle is opened, wherever it lies."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from attnorm import ClassConditionalPipeline, InpaintingPipeline
from attnorm.data.dataset import open_prepared
from attnorm.data.prepare import prepare
from attnorm.errors import UserError
from attnorm.metrics.features import load_extractor
from attnorm.models.class_conditional import Discriminator, Generator
from attnorm.models.inpainting import InpaintingCritic, InpaintingGenerator

PICKLES = (
    *("pytorch_model.bin", "model.pt", "model.pth", "model.pkl", "weights.ckpt", "state.pt", "training_args.bin"),
    *("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "model.safetensors.index.json"),
)


class Malice:
    """Unpickled, it leaves a file."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.fixture
def trace(tmp_path):
    """The file that a malicious pickle leaves; it must not be there in the end."""
    path = tmp_path / "the-pickle-was-run"
    yield path
    assert not path.exists()


@pytest.fixture
def malicious(trace, tmp_path):
    """Two malicious files, a plain pickle and one of torch.save, that run where they are opened without care."""
    plain = pickle.dumps(Malice(trace))
    torch.save(Malice(trace), tmp_path / "saved")
    for opened in (lambda: pickle.loads(plain), lambda: torch.load(tmp_path / "saved", weights_only=False)):
        opened()
        trace.unlink()
    return plain, (tmp_path / "saved").read_bytes()


def plant(folder, contents):
    """Puts malicious files wherever a loader might look; the safetensors stay."""
    for number, name in enumerate(PICKLES):
        (folder / name).write_bytes(contents[number % 2])


def refusal(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.promise
@pytest.mark.parametrize("name", ["generator", "discriminator", "inpainter", "critic"])
def test_no_network_opens_a_pickle_beside_or_in_place_of_its_weights(
    name, malicious, tmp_path, tiny_config, tiny_inpainting_config
):
    kind, config = {
        "generator": (Generator, tiny_config.generator),
        "discriminator": (Discriminator, tiny_config.discriminator),
        "inpainter": (InpaintingGenerator, tiny_inpainting_config.generator),
        "critic": (InpaintingCritic, tiny_inpainting_config.critic),
    }[name]
    folder = tmp_path / name
    kind(config).save_pretrained(folder)
    plant(folder, malicious)
    kind.from_pretrained(folder)
    for content in malicious:
        (folder / "model.safetensors").write_bytes(content)
        assert "model.safetensors is missing or damaged" in refusal(kind.from_pretrained, folder)
    (folder / "model.safetensors").unlink()
    assert "model.safetensors is missing or damaged" in refusal(kind.from_pretrained, folder)


@pytest.mark.promise
@pytest.mark.parametrize("pipeline", [ClassConditionalPipeline, InpaintingPipeline])
def test_no_pipeline_opens_a_pickle(pipeline, finished_run, finished_inpainting_run, malicious, tmp_path):
    trained = finished_run if pipeline is ClassConditionalPipeline else finished_inpainting_run
    run = shutil.copytree(trained, tmp_path / "copy")
    plant(run, malicious)
    plant(run / "model", malicious)
    pipeline.from_pretrained(run)
    for name in ("model.safetensors", "config.json"):
        for content in malicious:
            (run / "model" / name).write_bytes(content)
            for source in (run, run / "model"):
                assert "damaged" in refusal(pipeline.from_pretrained, source)


@pytest.mark.promise
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_feature_network_must_be_the_standard_file(malicious, tmp_path, monkeypatch):
    """TorchScript is a program: only the one file whose checksum is known is opened."""
    scripted = tmp_path / "inception.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(scripted))
    monkeypatch.setenv("ATTNORM_CACHE", str(tmp_path))
    for content in (*malicious, scripted.read_bytes()):
        (tmp_path / "network.pt").write_bytes(content)
        (tmp_path / "inception-2015-12-05.pt").write_bytes(content)  # planted in the cache
        for name in (str(tmp_path / "network.pt"), "inception"):
            assert "is not the standard Inception network" in refusal(load_extractor, name)


@pytest.mark.promise
def test_labels_of_a_prepared_set_are_not_unpickled(trace, tmp_path):
    np.savez(tmp_path / "set.npz", images=np.zeros((4, 16, 16, 3), np.uint8), labels=np.arange(4))
    folder = prepare(tmp_path / "set.npz", tmp_path / "set", 16).path
    np.save(folder / "labels.npy", np.array([Malice(trace)] * 4, dtype=object), allow_pickle=True)
    assert "labels.npy" in refusal(open_prepared, folder)
