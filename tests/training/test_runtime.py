"""Devices and number formats by name; freed memory; random numbers as a function of their purpose alone."""

import ctypes
import resource

import pytest
import torch

from attnorm.memory import keep_freed_memory
from attnorm.training.runtime import resolve_precision, seed_for, set_numerics


@pytest.mark.parametrize(("precision", "deterministic"), [("float32", False), ("bf16", True)])
def test_float32_is_float32_and_deterministic_takes_no_algorithm_by_its_speed(precision, deterministic, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.benchmark
    try:
        set_numerics(precision, deterministic=deterministic)
        assert cudnn.allow_tf32 == (precision != "float32") and not torch.backends.cuda.matmul.allow_tf32
        assert torch.are_deterministic_algorithms_enabled() == deterministic == (not cudnn.benchmark)
    finally:
        torch.use_deterministic_algorithms(False)
        cudnn.allow_tf32, cudnn.benchmark = before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
def test_training_keeps_the_memory_of_large_results_for_the_next_ones():
    keep_freed_memory()
    counts = []
    for _ in range(6):  # the first ones may still get new pages
        torch.ones(1 << 24)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    assert torch.tensor(counts).diff().min() < 1000  # of 16384 page faults


@pytest.mark.parametrize(("instructions", "expected"), [("avx512_bf16", "bf16"), ("amx_bf16", "bf16"), ("", "float32")])
def test_auto_is_bf16_where_the_processor_or_gpu_has_it_and_does_not_emulate_it(instructions, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instructions: True}, raising=False)
    assert resolve_precision("auto", torch.device("cpu")) == expected
    has = bool(instructions)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has or including_emulation)
    assert resolve_precision("auto", torch.device("cuda")) == expected


@pytest.mark.promise
def test_seeds_are_the_same_in_every_process():
    """Not Python's hash(), which every process salts anew; a run from yesterday resumes with the same numbers."""
    assert seed_for(3, "noise", 7) == 6449620861951808631
