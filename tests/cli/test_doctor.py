"""`attnorm doctor` on this machine, and on one that lacks packages."""

import json

import pytest
import torch

from attnorm.cli import doctor, main
from attnorm.layers import backend_for, backend_refusals
from attnorm.layers.kernels import library


@pytest.fixture
def said(capsys):
    def run(*arguments):
        capsys.readouterr()
        assert main(["doctor", *arguments]) == 0
        return capsys.readouterr().out

    return run


def test_it_names_versions_and_complete_extras(said):
    text = said()
    assert f"torch      {torch.__version__}" in text
    assert "extra train: complete" in text


def test_a_missing_package_is_named_with_the_command_that_installs_it(said, monkeypatch):
    installed = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda name: None if name in ("pyarrow", "av") else installed(name))
    text = said()
    assert "extra data: lacks pyarrow: pip install 'attnorm[data]'" in text
    assert "extra figures: lacks av: pip install 'attnorm[figures]'" in text


def test_every_backend_is_named_with_why_it_cannot_run(said, monkeypatch):
    v, s = torch.zeros(1, 8, 4, 4), torch.full((1, 4, 4, 4), 0.25)
    assert f"backend {backend_for(v, s)} on cpu: taken" in said()
    found = json.loads(said("--json"))["backends"]["cpu"]
    assert found == {"taken": backend_for(v, s), "refusals": backend_refusals(v, s)}
    monkeypatch.setattr(library, "refusal", lambda: "there is no C++ compiler")
    text = said()
    assert "backend cpp on cpu: its library is missing: there is no C++ compiler" in text
    assert "backend eager on cpu: taken" in text
    assert "backend composed on cpu: can run" in text
    assert "backend triton on cpu: the features are on cpu, not on a CUDA device" in text


def test_a_gpu_has_its_backends_named_too(said, monkeypatch):
    """Without one, with the meta device in its place: what is asked there."""
    zeros, full = torch.zeros, torch.full
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, make in (("zeros", zeros), ("full", full)):
        monkeypatch.setattr(
            torch, name, lambda *a, device, make=make: make(*a, device="meta" if device == "cuda" else device)
        )
    text = said()
    assert "backend cpp on cuda: the features are on meta, not on the CPU" in text
    assert "backend eager on cuda: taken" in text


def test_a_gpu_that_fails_is_reported(said, monkeypatch):
    zeros = torch.zeros

    def fail_on_cuda(*size, device):
        if device == "cuda":
            raise RuntimeError("CUDA driver initialization failed\nand more")
        return zeros(*size, device=device)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", fail_on_cuda)
    text = said()
    assert "backend eager on cuda: PyTorch cannot use the device: CUDA driver initialization failed\n" in text
    assert "backend eager on cpu: PyTorch" not in text


def test_a_script_can_read_it(said):
    found = json.loads(said("--json"))
    assert found["versions"]["torch"] == torch.__version__
    assert found["extras"]["train"]["accelerate"]
    assert found["gpus"] == [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
