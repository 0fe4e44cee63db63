"""What is measured is what it is called, and what the report says follows from the figures."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from attnorm import AttentiveNorm2d, SelfAttention2d
from attnorm.benchmarks import layer, measuring
from attnorm.benchmarks.layer import Setting, contestants, run
from attnorm.benchmarks.layer_report import as_text
from attnorm.benchmarks.literal import LiteralAttentiveNorm, NaiveSelfAttention, literal_regional_norm
from attnorm.benchmarks.report import ratio
from attnorm.cli import main
from tests.layers import literal

SMALL = ["--channels", "8", "--entities", "4", "--rounds", "2"]


@pytest.fixture(autouse=True)
def _short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SAMPLE_SECONDS", 0.0)


def changed(module: torch.nn.Module) -> torch.nn.Module:
    """In float64, with no parameter at its initial value."""
    torch.manual_seed(0)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def test_the_literal_contestants_compute_what_ours_do() -> None:
    x = torch.randn(2, 16, 8, 6, dtype=torch.float64)
    ours = changed(AttentiveNorm2d(16, 4)).eval()
    torch.testing.assert_close(LiteralAttentiveNorm(ours).eval()(x), ours(x))
    attention = changed(SelfAttention2d(16))
    torch.testing.assert_close(NaiveSelfAttention(attention)(x), attention(x))
    s, weight, bias = (
        torch.randn(2, 4, 8, 6).double().softmax(1),
        torch.randn(4, 16).double(),
        torch.randn(4, 16).double(),
    )
    wanted = literal.regional_norm(x, s, weight, bias, "weighted")
    torch.testing.assert_close(literal_regional_norm(x, s, weight, bias), wanted)


def test_the_literal_layer_samples_in_training() -> None:
    ours = changed(AttentiveNorm2d(16, 4, temperature=3.0)).train()
    x = torch.randn(1, 16, 8, 8, dtype=torch.float64)
    out = LiteralAttentiveNorm(ours)
    assert not torch.equal(out(x), out(x))
    torch.manual_seed(1)
    first = out(x)
    torch.manual_seed(1)
    torch.testing.assert_close(first, ours(x))


@pytest.mark.parametrize("which", layer.PASSES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_contestant_runs(which: str, dtype: str) -> None:
    setting = Setting(channels=8, entities=4, dtype=dtype, channels_last=True)
    found = {contestant.name: contestant.call() for contestant in contestants(setting, 8, which)}
    operators = {"copy", "instance_norm", *(f"regional_norm {name}" for name in ("eager", "composed", "literal"))}
    layers = {"AttentiveNorm2d", "AttentiveNorm2d literal", "SelfAttention2d fused", "SelfAttention2d naive"}
    assert operators | layers <= set(found)
    for result in found.values():
        if which == "forward":
            assert result.shape == (1, 8, 8, 8)
            assert not result.requires_grad
        else:
            assert result[0].shape == (1, 8, 8, 8)  # the gradient of the features


def test_the_report_has_ratios_memory_exponents_and_reasons() -> None:
    setting = Setting(sizes=(8, 16), passes=("forward",), channels=8, entities=4, rounds=2)
    seen: list[int] = []
    report = run(setting, lambda report: seen.append(len(report["figures"])))
    assert seen == [len(report["figures"]) // 2, len(report["figures"])]
    json.dumps(report)
    by_name = {(f["name"], f["size"]): f for f in report["figures"]}
    ours, base = by_name["AttentiveNorm2d", 16], by_name["instance_norm", 16]
    text = as_text(report)
    assert f"{1e3 * ours['median']:.2f} ({ratio(ours, base):.2f}x)" in text
    assert f"{report['exponents']['forward']['AttentiveNorm2d']:.2f}" in text
    assert "not measured" not in text
    report["figures"][-1] |= {"median": None, "skipped": "needs 9 MB, of 1 free"}
    assert f"  {report['figures'][-1]['name']}, 16 x 16, forward: needs 9 MB, of 1 free" in as_text(report)


def test_time_of_a_larger_size_is_foretold_by_how_it_grows() -> None:
    figures = [
        {"size": 64, "pass": "forward", "name": name, "median": 0.5}
        for name in ("AttentiveNorm2d", "SelfAttention2d naive")
    ]
    found = layer._expected({"figures": figures}, 128, "forward")
    assert found == {"AttentiveNorm2d": 2.0, "SelfAttention2d naive": 8.0}
    assert layer._expected({"figures": figures}, 128, "training") == {}


def test_the_command_writes_tables_json_and_a_chart(tmp_path, capsys) -> None:
    pytest.importorskip("matplotlib")
    files = ["--json", str(tmp_path / "new" / "bench.json"), "--plot", str(tmp_path / "bench.png")]
    assert main(["bench", "layer", "--sizes", "16", "8", *SMALL, *files]) == 0
    out, _ = capsys.readouterr()
    assert "forward: ms a call" in out
    assert "training: peak memory" in out
    report = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert report["setting"]["sizes"] == [8, 16]
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.png", "new"]


def test_some_contestants_alone(capsys) -> None:
    assert (
        main(["bench", "layer", "--sizes", "8", *SMALL, "--passes", "forward", "--only", "copy", "--threads", "1"]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split()[1] for line in lines if line.startswith(("| copy", "| instance", "| Att", "| reg"))]
    assert rows == ["copy", "instance_norm"] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "1"], "--sizes must be at least 2"),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--limit", "0"], "--limit positive"),
        (["--only", "batch_norm"], "no contestant 'batch_norm'"),
        (["--plot", "chart.docx"], "chart.docx: the name of a chart must end in"),
        (["--json", "/dev/null/bench.json"], "cannot write /dev/null/bench.json"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(
    arguments: list[str], message: str, capsys, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "layer", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_without_matplotlib_the_chart_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    assert main(["bench", "layer", "--sizes", "8", *SMALL, "--plot", str(tmp_path / "x.png")]) == 2
    assert "pip install" in capsys.readouterr().err
