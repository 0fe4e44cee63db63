"""Drawing is measured as a user does it, at every size, for every system and batch."""

from __future__ import annotations

import json

import pytest

from attnorm.benchmarks import generate, measuring, networks
from attnorm.benchmarks.generate import Setting, as_text, bars, run
from attnorm.benchmarks.report import ratio
from attnorm.cli import main
from attnorm.config import derive


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SAMPLE_SECONDS", 0.0)
    whole = networks.system_config
    narrow = {"generator.channels": (8, 8, 8, 8), "generator.latent_dim": 8}
    monkeypatch.setattr(generate, "system_config", lambda *args: derive(whole(*args), narrow))


def test_the_report_has_every_system_and_batch() -> None:
    report = run(Setting(sizes=(32,), batches=(1, 3), rounds=2))
    json.dumps(report)
    found = {(f["system"], f["batch"]): f for f in report["figures"]}
    assert len(found) == 6
    for (_, batch), figure in found.items():
        assert figure["images_per_second"] == pytest.approx(batch / figure["median"])
    times = ratio(found["an-gan", 3], found["sn-gan-star", 3])
    assert f"{found['an-gan', 3]['images_per_second']:.0f} ({times:.2f}x)" in as_text(report)
    (panel,) = bars(report).values()
    assert list(panel) == ["batches of 1", "batches of 3"]


def test_without_the_base_there_are_no_ratios() -> None:
    assert "x)" not in as_text(run(Setting(sizes=(32,), systems=("an-gan",), batches=(1,), rounds=1)))


def test_a_call_draws_a_batch() -> None:
    pipeline = generate._pipeline(Setting(), "an-gan", 32)
    assert pipeline.draw(None, 3).pictures.shape == (3, 32, 32, 3)
    assert not pipeline.generator.training


def test_the_command_writes_tables_json_and_a_chart(tmp_path, capsys) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["--sizes", "32", "--systems", "an-gan", "--batches", "2", "--rounds", "1"]
    files = ["--json", str(tmp_path / "generate.json"), "--plot", str(tmp_path / "generate.png")]
    assert main(["bench", "generate", *arguments, *files]) == 0
    assert "32 x 32: images/s" in capsys.readouterr().out
    assert json.loads((tmp_path / "generate.json").read_text())["benchmark"] == "generate"
    assert (tmp_path / "generate.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--systems", "biggan"], "there is no system 'biggan'"),
        (["--batches", "0"], "--batches must be at least 1"),
        (["--rounds", "0"], "--rounds must be at least 1"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(arguments: list[str], message: str, capsys) -> None:
    assert main(["bench", "generate", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""
