"""The steps that are measured are those of the training loop, and a profile takes them apart without a remainder."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from attnorm.benchmarks import measuring, networks, train
from attnorm.benchmarks.profiling import CONVOLUTIONS, DATA, LAYER, OPTIMISERS, OTHERS, REST, SHARES, SPECTRAL
from attnorm.benchmarks.train import Setting, Step, as_text, bars, find, step_config
from attnorm.cli import main
from attnorm.config import derive

TINY = {
    "generator.channels": (8, 8, 8, 8),
    "generator.latent_dim": 8,
    "discriminator.channels": (8, 8, 8, 8),
    "discriminator.embedding_dim": 8,
}
SHORT = Setting(sizes=(32,), batch=2, rounds=2, device="cpu", precision="float32")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(train, "PICTURES", 8)
    whole = networks.system_config
    monkeypatch.setattr(train, "system_config", lambda *args, **changes: derive(whole(*args, **changes), TINY))


@pytest.mark.parametrize("size", networks.SIZES)
@pytest.mark.parametrize("kind", ["cpu", "paper"])
def test_the_systems_differ_in_their_long_range_layer_alone(size: int, kind: networks.Networks) -> None:
    base = networks.system_config("sn-gan-star", size, kind)
    assert base.image_size == size
    for system in ("sa-gan", "an-gan"):
        config = networks.system_config(system, size, kind)
        for name in ("generator", "discriminator"):
            assert getattr(config, name).long_range.kind == (
                "self_attention" if system == "sa-gan" else "attentive_norm"
            )
        without = {f"{name}.long_range": getattr(base, name).long_range for name in ("generator", "discriminator")}
        assert derive(config, {**without, "steps": base.steps}) == base


def test_a_plain_step_is_the_same_step_in_another_form() -> None:
    """In float32 the third step of either has the same losses, to rounding."""
    torch.manual_seed(0)
    ours, plain = (Step(step_config(SHORT, "an-gan", 32, variant), variant) for variant in ("ours", "plain"))
    try:
        found, wanted = ours(), plain()
        conv = plain.task.generator.blocks[0].conv1
        assert conv.parametrizations.weight.original.is_contiguous()
        assert not any(group["fused"] for o in plain.task.optimizers.values() for group in o.param_groups)
        assert all(group["fused"] for o in ours.task.optimizers.values() for group in o.param_groups)
        for name in ("loss_d", "loss_g"):
            torch.testing.assert_close(found[name], wanted[name], rtol=1e-3, atol=1e-3)
    finally:
        ours.close()
        plain.close()


def test_the_report_has_every_system_and_variant_and_a_profile() -> None:
    seen: list[int] = []
    setting = Setting(**{**vars(SHORT), "plain": True, "profiled": ("an-gan", "sn-gan-star")})
    report = train.run(setting, lambda report: seen.append(len(report["figures"])))
    assert seen == [6]
    json.dumps(report)
    for figure in report["figures"]:
        assert figure["images_per_second"] == pytest.approx(2 / figure["median"])
        assert len(figure["times"]) == 2
    ours = find(report, 32, "an-gan")
    assert ours is not None
    text = as_text(report)
    assert f"{ours['images_per_second']:.1f}" in text
    assert "an-gan, plain" in text
    assert "compiled" not in text
    (panel,) = bars(report).values()
    assert panel["an-gan"].keys() == {"ours", "plain"}

    attentive, without = (profile["shares"] for profile in report["profiles"])
    for shares in (attentive, without):
        assert tuple(shares) == SHARES
        assert sum(shares.values()) == pytest.approx(1)
        assert all(shares[name] > 0 for name in (CONVOLUTIONS, SPECTRAL, OPTIMISERS, DATA, OTHERS, REST))
    assert attentive[LAYER] > 0.02
    assert without[LAYER] == 0
    assert "convolution" in " ".join(report["profiles"][0]["operations"])


def test_a_profile_leaves_the_task_as_it_was() -> None:
    step = Step(step_config(SHORT, "sa-gan", 32, "ours"), "ours")
    try:
        before = {name: copy.copy(vars(owner)) for name, owner in (("task", step.task), ("ema", step.task.ema))}
        train.profile_steps(step)
        assert step.number == train.WARM_UP + 3
        assert vars(step.task).keys() == before["task"].keys()
        assert vars(step.task.ema).keys() == before["ema"].keys()
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in step.task.discriminator.modules())
    finally:
        step.close()


def test_the_command_writes_tables_json_and_a_chart(tmp_path, capsys) -> None:
    pytest.importorskip("matplotlib")
    files = ["--json", str(tmp_path / "train.json"), "--plot", str(tmp_path / "train.png")]
    arguments = ["--sizes", "32", "--systems", "an-gan", "--batch", "2", "--rounds", "1", "--device", "cpu"]
    assert main(["bench", "train", *arguments, *files]) == 0
    assert "32 x 32, 2 pictures a step" in capsys.readouterr().out
    report = json.loads((tmp_path / "train.json").read_text())
    assert (report["benchmark"], report["setting"]["systems"]) == ("train", ["an-gan"])
    assert (tmp_path / "train.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--systems", "an-gann"], "there is no system 'an-gann', did you mean 'an-gan'?"),
        (["--sizes", "48"], "--sizes"),
        (["--batch", "0"], "--batch must be at least 1"),
        (["--systems", "sa-gan", "--profile", "an-gan"], "--profile an-gan is none of the systems measured"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(arguments: list[str], message: str, capsys) -> None:
    assert main(["bench", "train", *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""
