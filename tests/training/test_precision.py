"""Devices and number formats by name."""

import pytest
import torch

from attnorm.training.runtime import autocast, resolve_device, resolve_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("seen, name, kind", [(True, "auto", "cuda"), (False, "auto", "cpu"), (True, "cpu", "cpu")])
def test_auto_is_the_gpu_where_there_is_one(seen, name, kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen)
    assert resolve_device(name).type == kind


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
@pytest.mark.parametrize(("there", "expected"), [(True, "bf16"), (False, "float32")])
def test_auto_is_bf16_where_the_processor_has_it(name, there, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True, name: there}, raising=False)
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize("supported", [True, False])
def test_auto_on_a_gpu_ignores_emulated_bf16(supported, monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported or including_emulation
    )
    assert resolve_precision("auto", CUDA) == ("bf16" if supported else "float32")


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_networks_compute_in_the_format(name, dtype):
    with autocast(CPU, name):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
