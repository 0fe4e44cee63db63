"""`attnorm models`, `attnorm presets`, `attnorm doctor` and `attnorm bench layer`."""

import json

import pytest
import torch
import yaml

from attnorm import bench
from attnorm.layers import backend_for
from attnorm.layers.kernels import library
from attnorm.presets import NAMES, get_preset
from attnorm.shipped import shipped_models


def test_models_are_listed_with_what_tells_them_apart(output):
    lines = output("models").out.splitlines()
    assert lines[0].split() == ["model", "task", "size", "classes", "data"]
    assert [line.split()[0] for line in lines[1 : lines.index("")]] == list(shipped_models())
    assert ["an-gan-digits", "class-conditional", "32×32", "10", "digits"] in map(str.split, lines)


def test_a_card_is_printed_without_its_yaml(output):
    card = (shipped_models()["an-gan-digits"] / "README.md").read_text("utf-8")
    out = output("models", "an-gan-digits").out
    assert out.startswith("# ")
    assert card.rstrip().endswith(out.rstrip())


def test_a_preset_is_printed_as_yaml(output):
    assert yaml.safe_load(output("presets", "an-gan-digits").out) == get_preset("an-gan-digits").model_dump(mode="json")


def test_an_unknown_name_is_refused_with_the_nearest(refused):
    assert "did you mean 'an-gan-digits'?" in refused("models", "an-gan-digit")
    assert "did you mean 'an-gan-digits'?" in refused("presets", "an-gan-digts")
    assert "`attnorm models` lists" in refused("generate", "quite-else", "-o", "grid.png")


def test_presets_are_listed_with_size_and_device(output):
    lines = output("presets").out.splitlines()[1 : 1 + len(NAMES)]
    found = {line.split()[0]: line.split()[1:3] for line in lines}
    assert list(found) == NAMES and max(map(len, lines)) <= 80
    assert found["an-gan-imagenet128"] == ["128×128", "GPU"]
    assert found["inpaint-an-64-cpu"] == ["64×64", "CPU"]


@pytest.fixture
def found(output):
    return lambda: yaml.safe_load(output("doctor").out)


def test_versions_and_devices_are_named_and_a_script_can_read_them(found):
    assert found()["versions"]["torch"] == torch.__version__
    assert found()["gpus"] == [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def test_every_backend_is_named_with_why_it_cannot_run(found, monkeypatch):
    v, s = torch.zeros(1, 8, 4, 4), torch.full((1, 4, 4, 4), 0.25)
    backends = found()["backends"]["cpu"]
    assert backends["chosen"] == backend_for(v, s) and backends["reference"] == "can run"
    monkeypatch.setattr(library, "refusal", lambda: "there is no C++ compiler")
    assert "there is no C++ compiler" in found()["backends"]["cpu"]["cpp"]


def test_a_gpu_that_fails_is_reported(found, monkeypatch):
    zeros = torch.zeros

    def fail_on_cuda(*size, device):
        if device == "cuda":
            raise RuntimeError("CUDA driver initialization failed\nand more")
        return zeros(*size, device=device)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", fail_on_cuda)
    assert found()["backends"]["cuda"] == "PyTorch cannot use the device: CUDA driver initialization failed"


def test_the_benchmark_of_the_layer_writes_its_report(output, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(bench.gc, "collect", int)  # slow where many tests have left objects
    monkeypatch.setattr(bench, "backend_refusals", lambda x, layout: {"reference": None})
    sizes = ["--sizes", 16, 8, "--channels", 8, "--entities", 4, "--rounds", 2, "--dtype", "bfloat16"]
    out = output("bench", "layer", *sizes, "--json", tmp_path / "new" / "layer.json").out
    assert out.index("1 x 8 x 8 x 8") < out.index("1 x 8 x 16 x 16")
    results = json.loads((tmp_path / "new" / "layer.json").read_text())["results"]
    assert {one["name"] for one in results} >= {"copy", "instance_norm", "AttentiveNorm2d", "SelfAttention2d"}
    assert all(len(one["times"]) == 2 and f"{1e3 * one['median']:.2f}" in out for one in results)
    assert "unknown field 'size', did you mean 'sizes'?" in refused("bench", "layer", "--size", 8)
