"""Models from elsewhere: safetensors only, no pickle is opened, and absurd configurations take no memory."""

import json
import pickle
import shutil
import struct
import zlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from attnorm import ClassConditionalPipeline, InpaintingPipeline, memory
from attnorm.cli import main
from attnorm.errors import UserError
from attnorm.metrics.features import load_extractor
from attnorm.models.class_conditional import Discriminator, Generator
from attnorm.models.inpainting import InpaintingCritic, InpaintingGenerator
from attnorm.presets import PRESETS
from attnorm.training.loop import begin
from attnorm.training.restore import load_discriminator

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
    """The file that a malicious pickle leaves."""
    return tmp_path / "the-pickle-was-run"


@pytest.fixture
def malicious(trace, tmp_path):
    """Two malicious files, a plain pickle and one of torch.save, that run where they are opened without care."""
    plain = pickle.dumps(Malice(trace))
    pickle.loads(plain)
    assert trace.exists()
    trace.unlink()
    torch.save(Malice(trace), tmp_path / "saved")
    torch.load(tmp_path / "saved", weights_only=False)
    assert trace.exists()
    trace.unlink()
    return plain, (tmp_path / "saved").read_bytes()


def plant(folder, contents):
    """Puts malicious files wherever a loader might look; the safetensors stay."""
    for number, name in enumerate(PICKLES):
        (folder / name).write_bytes(contents[number % 2])


def put_as_weights(folder, content):
    plant(folder, (content, content))
    (folder / "model.safetensors").write_bytes(content)


def refusal(call, *arguments, **options):
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


NETWORKS = {
    "generator": Generator,
    "discriminator": Discriminator,
    "painter": InpaintingGenerator,
    "critic": InpaintingCritic,
}
PIPELINES = {"run": ClassConditionalPipeline, "painter": InpaintingPipeline}


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_changes):
    """Every kind of network, saved by its name in `NETWORKS`."""
    from attnorm.config import derive

    folder = tmp_path_factory.mktemp("saved")
    sizes = PRESETS["an-gan-digits"], PRESETS["inpaint-an-64-cpu"]
    tiny = derive(sizes[0], tiny_changes)
    configs = tiny.generator, tiny.discriminator, sizes[1].generator, sizes[1].critic
    for (name, network), config in zip(NETWORKS.items(), configs, strict=True):
        network(config).save_pretrained(folder / name)
    return folder


@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_opens_a_pickle_beside_or_in_place_of_its_weights(name, saved, malicious, trace, tmp_path):
    folder = shutil.copytree(saved / name, tmp_path / name)
    plant(folder, malicious)
    NETWORKS[name].from_pretrained(folder)
    for content in malicious:
        put_as_weights(folder, content)
        assert "missing or damaged" in refusal(NETWORKS[name].from_pretrained, folder)
        (folder / "model.safetensors").unlink()
        assert "missing or damaged" in refusal(NETWORKS[name].from_pretrained, folder)
    assert not trace.exists()


@pytest.mark.parametrize("kind", PIPELINES)
@pytest.mark.parametrize("where", ["run", "model"])
def test_no_pipeline_opens_a_pickle(kind, where, world, malicious, trace, tmp_path):
    run = shutil.copytree(world / kind, tmp_path / "copy")
    source = run if where == "run" else run / "model"
    plant(run, malicious)
    plant(run / "model", malicious)
    PIPELINES[kind].from_pretrained(source)
    for content in malicious:
        put_as_weights(run / "model", content)
        assert "missing or damaged" in refusal(PIPELINES[kind].from_pretrained, source)
    for content in malicious:
        (run / "model" / "config.json").write_bytes(content)
        refusal(PIPELINES[kind].from_pretrained, source)
    assert not trace.exists()


COMMANDS = {
    "generate": ("run", "generate {} -o out.png"),
    "interpolate": ("run", "interpolate {} --labels 1 2 -o out.png"),
    "visualize": ("run", "visualize {} -o out.png"),
    "evaluate": ("run", "evaluate {} --data digits --num 4 --out record.json"),
    "inpaint": ("painter", "inpaint {} photo.png hole.png -o out.png"),
    "visualize inpainter": ("painter", "visualize {} photo.png hole.png -o out.png"),
    "evaluate inpainter": ("painter", "evaluate {} --data digits --num 4 --out record.json"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_opens_a_pickle_in_place_of_weights(name, world, malicious, trace, tmp_path, refused):
    kind, line = COMMANDS[name]
    run = shutil.copytree(world / kind, tmp_path / "copy")
    for content in malicious:
        put_as_weights(run / "model", content)
        refused(line.format(run), "model.safetensors is missing or damaged", "save or download the model again")
    assert not trace.exists()


def with_state(run, content):
    """Puts a file in place of the training state of every checkpoint, with the right checksum."""
    for folder in (run / "checkpoints").glob("step-*"):
        (folder / "state.pt").write_bytes(content)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest |= {"bytes": len(content), "crc32": zlib.crc32(content)}
        (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_training_state_that_is_a_program_does_not_run(world, malicious, trace, tmp_path, refused):
    run = shutil.copytree(world / "run", tmp_path / "copy")
    for content in malicious:
        with_state(run, content)
        refused(f"resume {run} --steps 8", "state.pt holds no training state")
    assert "holds no training state" in refusal(load_discriminator, run)
    assert not trace.exists()


def test_a_model_without_a_run_gives_no_training_state(world, malicious, trace, tmp_path, refused):
    """Only a folder with the config.yaml of a run is looked into for checkpoints."""
    model = shutil.copytree(world / "model", tmp_path / "model")
    shutil.copytree(world / "run" / "checkpoints", model / "checkpoints")
    with_state(model, malicious[1])
    refused(["resume", model], "is no run")
    assert not trace.exists()


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_feature_network_by_path_must_be_the_standard_file(malicious, trace, tmp_path, refused):
    """TorchScript is a program: only the one file whose checksum is known is opened."""
    scripted = tmp_path / "inception.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(scripted))
    for number, content in enumerate((*malicious, scripted.read_bytes())):
        path = tmp_path / f"network{number}.pt"
        path.write_bytes(content)
        assert "is not the standard Inception network" in refusal(load_extractor, str(path))
        refused(["evaluate", "run", "--extractor", path], "is not the standard Inception network", "get it again")
    assert not trace.exists()


def test_a_planted_file_in_the_cache_is_not_taken_for_the_feature_network(here, malicious, trace, tmp_path, refused):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "inception-2015-12-05.pt").write_bytes(malicious[1])
    refused("evaluate run --extractor inception", "is not the standard Inception network")
    assert not trace.exists()


def test_planted_labels_of_a_prepared_set_do_not_run(world, trace, tmp_path, refused):
    import numpy as np

    folder = shutil.copytree(world / "prepared", tmp_path / "set")
    np.save(folder / "labels.npy", np.array([Malice(trace)] * 4, dtype=object), allow_pickle=True)
    refused(["data", "inspect", folder], "labels.npy", "prepare the set again")
    assert not trace.exists()


def changed_tensors(change):
    def make(path):
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return make


def _other_shape(tensors):
    name = next(iter(tensors))
    tensors[name] = torch.zeros(3, 5)


def _header(length, text=b""):
    return lambda path: path.write_bytes(struct.pack("<Q", length) + text)


DAMAGE = {
    "another shape": changed_tensors(_other_shape),
    "a tensor is missing": changed_tensors(lambda tensors: tensors.pop("stem.bias")),
    "a tensor too many": changed_tensors(lambda tensors: tensors.update(more=torch.zeros(1))),
    "no tensor": changed_tensors(dict.clear),
    "empty": lambda path: path.write_bytes(b""),
    "half a header": lambda path: path.write_bytes(path.read_bytes()[:30]),
    "half the weights": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "something behind": lambda path: path.write_bytes(path.read_bytes() + b"more"),
    "a header beyond the end": _header(1 << 40),
    "the longest header": _header((1 << 64) - 1),
    "a header that is no JSON": _header(4, b"{a:}"),
    "a header without tensors": _header(2, b"[]"),
    "tensors beyond the end": _header(56, b'{"a":{"dtype":"F32","shape":[9999],"data_offsets":[0,9]}}'[:56]),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_weights_are_refused_in_one_sentence(name, world, tmp_path, refused):
    model = shutil.copytree(world / "model", tmp_path / "model")
    DAMAGE[name](model / "model.safetensors")
    refused(["generate", model, "-o", "out.png"], "model.safetensors", "again")
    assert "again" in refusal(Generator.from_pretrained, model)


CONFIGS = {
    "empty": (b"", "config.json", "again"),
    "no mapping": (b"[]", "config.json", "again"),
    "null": (b"null", "config.json", "again"),
    "torn": (b'{"channels": [8,', "config.json", "again"),
    "binary": (bytes(range(256)), "config.json", "again"),
    "deep": (b"[" * 100_000, "config.json", "again"),
    "unknown field": ({"widths": [8]}, "unknown field 'widths'"),
    "10^9 channels": ({"channels": [8, 8, 8, 10**9]}, "generator.channels must be from 1 to 16384"),
    "many digits": ({"channels": [8, 8, 8, 10**4000]}, "a number has more than 256 bits"),
    "many blocks": ({"channels": [8] * 1000}, "generator.channels must have 2 to 10 numbers"),
    "negative channels": ({"channels": [8, 8, 8, -8]}, "generator.channels must be from 1"),
    "fractional channels": ({"channels": [8, 8, 8, 8.5]}, "channels must be a list, each a whole number"),
    "channels in words": ({"channels": "8888"}, "channels must be a list, each a whole number"),
    "10^12 classes": ({"num_classes": 10**12}, "generator.num_classes must be from 1 to 1048576"),
    "no classes": ({"num_classes": 0}, "generator.num_classes must be from 1"),
    "true classes": ({"num_classes": True}, "num_classes must be a whole number, got True"),
    "no latent": ({"latent_dim": -1}, "generator.latent_dim must be from 1"),
    "huge pictures": ({"image_size": 10**9}, "pictures, not image_size 1000000000"),
    "nested type": ({"long_range": [1, 2]}, "long_range must be"),
    "nested null": ({"long_range": None}, "long_range must be"),
    "nested unknown": ({"long_range": {"entities": 4}}, "unknown field 'entities'", "did you mean"),
    "not a number": ({"long_range": {"temperature": float("nan")}}, "temperature must be positive and finite"),
    "infinite": ({"long_range": {"temperature": float("inf")}}, "temperature must be positive and finite"),
    "another kind": ({"long_range": {"kind": "eval('1')"}}, "kind must be one of"),
    "names for others": ({"class_names": ["cat"]}, "1 class names do not fit num_classes 10"),
    "names of numbers": ({"class_names": [1] * 10}, "class_names must be"),
    "names twice": ({"class_names": ["cat"] * 10}, "class_names has a name twice"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_an_absurd_configuration_is_refused_before_memory_is_taken(name, world, tmp_path, refused):
    model = shutil.copytree(world / "model", tmp_path / "model")
    change, *parts = CONFIGS[name]
    file = model / "config.json"
    if isinstance(change, dict):
        config = json.loads(file.read_text())
        for field, value in change.items():
            nested = isinstance(value, dict) and isinstance(config.get(field), dict)
            config[field] = config[field] | value if nested else value
        file.write_text(json.dumps(config))
    else:
        file.write_bytes(change)
    refused(["generate", model, "-o", "out.png"], *parts)
    for part in parts:
        assert part in refusal(Generator.from_pretrained, model)


def test_a_training_that_does_not_fit_into_this_machine_is_refused_before_its_data_is_read(
    tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "machine_memory", lambda: 1e4)
    message = refusal(begin, tiny_config, tmp_path / "run")
    assert "more than this machine's 0.0 GB of memory" in message
    assert not any(tmp_path.iterdir())


def test_a_container_has_no_more_memory_than_its_limit(tmp_path, monkeypatch):
    whole = memory.machine_memory()
    (tmp_path / "none").write_text("max\n")
    (tmp_path / "some").write_text("123456\n")
    monkeypatch.setattr(memory, "CONTAINER_LIMITS", (tmp_path / "none", tmp_path / "lost"))
    assert memory.machine_memory() >= whole
    monkeypatch.setattr(memory, "CONTAINER_LIMITS", (tmp_path / "none", tmp_path / "some"))
    assert memory.machine_memory() == 123456
    memory.check_memory(123456, "this", "do that")
    with pytest.raises(UserError, match=r"this would take at least 0.0 GB.*do that"):
        memory.check_memory(123457, "this", "do that")


def test_half_of_a_pair_from_elsewhere_is_refused(world, tmp_path, capsys):
    """A config.json alone is no model, and weights alone are none."""
    for name in ("config.json", "model.safetensors"):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        shutil.copy(world / "model" / name, folder)
        assert main(["generate", str(folder), "-o", str(tmp_path / "out.png")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
