"""How calls are measured, what the contestants compute, and one tiny round of every program."""

import importlib
import itertools
import json
from pathlib import Path

import pytest
import torch

from attnorm import AttentiveNorm2d, SelfAttention2d, bench
from tests.layers import literal as oracle

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def program(monkeypatch):
    """Imports a program of benchmarks/; samples are short, and of the backends one is measured."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    monkeypatch.setattr(bench, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(bench.gc, "collect", int)  # slow where many tests have left objects
    monkeypatch.setattr(bench, "backend_refusals", lambda x, layout: {"reference": None, "triton": "no GPU"})
    return importlib.import_module


def test_calls_take_turns_and_slow_ones_are_measured_once(monkeypatch):
    clock, made = [0.0], []
    monkeypatch.setattr(bench.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(bench, "SAMPLE_SECONDS", 0.02)

    def call(name, *seconds):
        durations = itertools.cycle(seconds)

        def run():
            made.append(name)
            clock[0] += next(durations)

        return run

    a, b = call("a", 0.9, 0.5, 9, 0.1, 9, 0.3, 9, 0.9), call("b", 0.9, 0.5, 9, 0.1, 9, 0.1, 9, 0.9)  # 9: not counted
    calls = {"a": a, "b": b, "c": call("c", 0.011), "slow": call("slow", 7.0)}
    found = bench.measure(calls, rounds=3, device=CPU, limit=5)
    assert made == [name for name in calls for _ in range(2)] + ["a", "a", "b", "b", "c", "c", "c"] * 3
    assert found["a"].median == pytest.approx(0.3)
    assert found["a"].ratio(found["b"]) == pytest.approx(1)  # the median over rounds, not the ratio of medians
    assert found["slow"].times == (7.0,)


def test_the_literal_and_naive_forms_compute_what_the_layers_do(program):
    forms = program("layer")
    torch.manual_seed(0)
    x, s = torch.randn(2, 16, 8, 6).double(), torch.randn(2, 4, 8, 6).double().softmax(1)
    ours, attention = AttentiveNorm2d(16, 4, temperature=3.0).double(), SelfAttention2d(16).double()
    for parameter in (*ours.parameters(), *attention.parameters()):
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    torch.testing.assert_close(forms.NaiveSelfAttention(attention)(x), attention(x))
    torch.testing.assert_close(forms.literal_regional_norm(x, s), oracle.regional_norm(x, s, None, None, "weighted"))
    outs = []
    for module in (ours, forms.LiteralAttentiveNorm(ours)):
        torch.manual_seed(1)
        outs.append(module(x))
    torch.testing.assert_close(*outs)


TINY = {
    "layer": ({"sizes": (8,), "channels": 8, "entities": 4, "literal": True}, "SelfAttention2d naive"),
    "training_step": ({"sizes": (32,), "batch": 2, "systems": ("an-gan",)}, "an-gan, plain"),
    "generation": ({"sizes": (32,), "batches": (1,)}, "sa-gan"),
    "data_reading": ({"batches": (2,), "size": 8, "images": 4}, "prefetching thread, batches of 2"),
    "inpainting": ({"sizes": (32,), "width": 4}, "crop"),
}


@pytest.mark.parametrize("name", TINY)
def test_every_program_prints_its_rows_and_writes_its_record(name, program, tmp_path, capsys):
    arguments, row = TINY[name]
    program(name).main(**arguments, rounds=1, json=tmp_path / "record.json")
    assert row in capsys.readouterr().out
    report = json.loads((tmp_path / "record.json").read_text())
    assert report["machine"]["torch"] == torch.__version__
    assert all(min(one["times"]) > 0 for one in report["results"])
